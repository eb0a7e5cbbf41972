"""Global batches of samples: in which order an epoch takes them, and their views on the device where the steps run."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from molbt.data.columns import Column, RaggedBatch, RaggedColumn
from molbt.data.corpus import Samples
from molbt.draws import Draws, mix_words
from molbt.modalities.base import Modality
from molbt.training.dealing import deal, deal_episodes


class SampleStore:
    """The samples of a run on one device.

    Parameters
    ----------
    modalities : mapping of Modality
        By view.
    columns : mapping of mapping of Column
        By view and name.
    samples : Samples
    seed : int
        Decides the order of the samples and every augmentation.
    device : torch.device
    unique_entities : str, optional
        A view whose entries a batch repeats as little as possible (``molbt.training.dealing``).
    episodes : str, optional
        A label set: samples of one of its tasks come together, ``episode_size`` at a time.
    """

    def __init__(
        self,
        modalities: Mapping[str, Modality],
        columns: Mapping[str, Mapping[str, Column]],
        samples: Samples,
        *,
        seed: int,
        device: torch.device,
        unique_entities: str | None = None,
        episodes: str | None = None,
        episode_size: int = 64,
    ) -> None:
        self.modalities = modalities
        self.columns = {view: {name: column.to(device) for name, column in parts.items()} for view, parts in columns.items()}
        self.entries = {view: index.to(device) for view, index in samples.entries.items()}
        self.labels: dict[str, RaggedColumn] = {name: column.to(device) for name, column in samples.labels.items()}
        self.seed = seed
        self.device = device
        self._unique_entities = unique_entities
        self._task_of_sample = None if episodes is None else _first_tasks(samples.labels[episodes])
        self._episode_size = episode_size
        self._order: tuple[tuple[int, int], Tensor] = ((-1, 0), torch.empty(0, dtype=torch.int64))

    def __len__(self) -> int:
        return len(next(iter(self.entries.values())))

    def batch(self, epoch: int, position: int, size: int) -> "GlobalBatch":
        """Return the ``position``-th batch of an epoch; what does not fill a batch at the end is left to other epochs."""
        if self._order[0] != (epoch, size):
            self._order = (epoch, size), self._epoch_order(epoch, size)
        return GlobalBatch(self, self._order[1][position * size : (position + 1) * size], epoch)

    def probe(self, size: int) -> "GlobalBatch":
        """Return the same samples each time, augmented in the same way, for diagnostics."""
        return GlobalBatch(self, self._permutation("probe")[:size], epoch=-1)

    @cached_property
    def repeated_views(self) -> tuple[str, ...]:
        """Views whose entries stand in more than one sample; of views with the same entries, the first."""
        found: list[str] = []
        for view, entries in self.entries.items():
            repeats = len(entries.unique()) < len(entries)
            if repeats and not any(torch.equal(entries, self.entries[other]) for other in found):
                found.append(view)
        return tuple(found)

    def _epoch_order(self, epoch: int, size: int) -> Tensor:
        order = self._permutation("order", epoch)
        if self._task_of_sample is not None:
            seed = mix_words(self.seed, "episodes", epoch)
            return deal_episodes(order, self._task_of_sample, self._episode_size, seed=seed).to(self.device)
        if self._unique_entities is None:
            return order
        entities = self.entries[self._unique_entities]
        return deal(order, entities, size, seed=mix_words(self.seed, "dealing", epoch)).to(self.device)

    def _permutation(self, *words: int | str) -> Tensor:
        generator = torch.Generator().manual_seed(mix_words(self.seed, *words))
        return torch.randperm(len(self), generator=generator).to(self.device)


@dataclass(frozen=True)
class GlobalBatch:
    """Samples of all ranks, in one order; every rank can make the views of any of them.

    Attributes
    ----------
    store : SampleStore
    samples : Tensor of shape (global batch,), int64
    epoch : int
    """

    store: SampleStore
    samples: Tensor
    epoch: int

    def __len__(self) -> int:
        return len(self.samples)

    def gather(self, view: str, positions: Tensor, *, augmented: bool = True) -> Any:
        """Return a view of the samples at positions of this batch; an augmentation depends on sample, epoch and view only."""
        samples = self.samples[positions]
        modality = self.store.modalities[view]
        batch = modality.collate(self.store.columns[view], self.store.entries[view][samples])
        if not augmented:
            return batch
        return modality.augment(batch, Draws.for_rows(samples, seed=self.store.seed, epoch=self.epoch, view=view))

    def all_views(self) -> dict[str, Any]:
        """Return every view of the whole batch, augmented."""
        everything = torch.arange(len(self), device=self.samples.device)
        return {view: self.gather(view, everything) for view in self.store.modalities}

    def draws(self, label: str) -> Draws:
        """Return one key per sample, other ones than those of the views."""
        return Draws.for_rows(self.samples, seed=self.store.seed, epoch=self.epoch, view=f"objective {label}")

    def step_draws(self, label: str, step: int) -> Draws:
        """Return one key for a step of the run."""
        number = torch.tensor([step], device=self.samples.device)
        return Draws.for_rows(number, seed=self.store.seed, epoch=self.epoch, view=f"step of objective {label}")

    def entities(self, positions: Tensor) -> dict[str, Tensor]:
        """Return, for each view, the numbers of the entries."""
        return {view: entries[self.samples[positions]] for view, entries in self.store.entries.items()}

    def unique_entities(self) -> dict[str, Tensor]:
        """Return how many distinct entries the batch has of each view in which samples repeat them: ``unique_entities.<view>``."""
        found = {}
        for view in self.store.repeated_views:
            entries = self.store.entries[view][self.samples].sort().values  # on a GPU, unlike `unique`, this does not wait
            found[f"unique_entities.{view}"] = (entries[1:] != entries[:-1]).sum() + 1
        return found

    def labels(self, positions: Tensor) -> dict[str, RaggedBatch]:
        """Return the labels, by label set."""
        return {name: column.gather(self.samples[positions]) for name, column in self.store.labels.items()}


def _first_tasks(labels: RaggedColumn) -> Tensor:
    """Return the task of each sample's first label, ``(samples,)`` int64; −1 where it has none."""
    offsets = torch.as_tensor(labels.offsets).long().cpu()
    tasks = torch.cat([torch.as_tensor(labels.fields["task"]).long().cpu(), torch.tensor([-1])])
    return torch.where(offsets[1:] > offsets[:-1], tasks[offsets[:-1].clamp(max=len(tasks) - 1)], -1)
