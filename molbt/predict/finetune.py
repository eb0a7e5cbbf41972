"""Fine-tuning: a pretrained encoder and a linear output for each target learn together from labelled molecules.

It starts from the linear heads on the frozen encoder (Kumar et al. 2022: outputs that begin at random distort the features). How many
epochs a course takes is chosen on molecules that were left out: a quarter, a half or all of the epochs that the settings name, or none,
which is the frozen encoder. Each course ends at a learning rate of zero: a network that is stopped on the way predicts a good deal worse or
better by chance, and the one that is trained on all rows would not be what validation saw.

The loop is one of its own rather than ``molbt.training.trainer.pretrain`` with the objective ``multitask``. A pretraining run reads a
prepared corpus into a run directory, drops the rows that do not fill a batch, keeps batch norm moving and ends after a number of epochs
that was fixed; a few hundred labelled rows need the opposite of each, and several trainings in a row. Batches, augmentations, schedule,
seeds and devices are the trainer's own.

References
----------
Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution", ICLR 2022,
https://arxiv.org/abs/2202.10054
"""

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from molbt.config import TrainerConfig
from molbt.data.corpus import Progress, Samples
from molbt.draws import mix_words
from molbt.errors import DataError, TrainingError
from molbt.featurizer import MoleculeFeaturizer
from molbt.model.checkpoint import from_pretrained
from molbt.model.twin_model import TwinModel
from molbt.predict.cross_validation import random_folds
from molbt.predict.features import FeatureSet
from molbt.predict.finetune_settings import FineTuning
from molbt.predict.finetune_targets import Targets, mean_over_targets, prediction_losses
from molbt.predict.finetuned_network import FineTunedNetwork
from molbt.predict.linear_output import LinearOutput
from molbt.predict.replicates import molecule_numbers
from molbt.predict.targets import naming
from molbt.training.batches import GlobalBatch, SampleStore
from molbt.training.hardware import Hardware
from molbt.training.schedule import learning_rate, set_learning_rates

logger = logging.getLogger(__name__)

_FOLDS = 5
# Up to this many labelled rows each fold is left out once; above, one fold has rows enough to tell epochs apart.
_FEW_ROWS = 300
# Smaller batches for small sets: an epoch of one or two steps would teach too little, and validation would see too few states.
_STEPS_PER_EPOCH, _SMALLEST_BATCH = 16, 4
_BLOCK = 1024


@dataclass(frozen=True, eq=False)
class FineTuned:
    """What fine-tuning made and how it fared.

    Attributes
    ----------
    twin : TwinModel
        With the fine-tuned encoders; on the CPU, in evaluation mode.
    heads : dict of str to LinearOutput
        By target, on the output of those encoders.
    epochs : int
        Epochs trained; 0 where validation preferred the encoder as it was.
    losses : dict of int to float
        For courses of so many epochs, the mean over the targets of the held-out loss: squared error over the variance, or log loss. 0 is
        the frozen encoder. Empty where nothing could be held out.
    folds : list of (ndarray, ndarray)
        Rows learned from and rows held out in validation.
    held_out : ndarray of shape (n, targets), float64
        Predictions of the rows held out, NaN elsewhere. One half of the molecules is predicted by the course that is best for the other
        half, so that no prediction gains from the choice.
    labels : ndarray of shape (n, targets), float64
        What it learned from.
    molecules : ndarray of shape (n,), int64
        Which molecule each row is.
    settings : FineTuning
    """

    twin: TwinModel
    heads: dict[str, LinearOutput]
    epochs: int
    losses: dict[int, float]
    folds: list[tuple[np.ndarray, np.ndarray]]
    held_out: np.ndarray
    labels: np.ndarray
    molecules: np.ndarray
    settings: FineTuning


def fine_tune(
    featurizer: MoleculeFeaturizer,
    smiles: Sequence[Any],
    labels: np.ndarray,
    task_types: Mapping[str, str],
    *,
    settings: FineTuning | None = None,
    random_state: int = 0,
    progress: Progress | None = None,
) -> FineTuned:
    """Train the encoders of a model and a linear output for each target.

    Every random choice is a function of ``random_state``, the step and the row: the same call gives the same bits on a CPU of the same
    kind with the same number of threads.

    Parameters
    ----------
    featurizer : MoleculeFeaturizer
        Fitted, with ``on_invalid="nan"``: the model to start from, the output that is read, and the device.
    smiles : sequence of n str
    labels : ndarray of shape (n, targets), float64
        NaN where there is none. Refused molecules and rows without any label take no part.
    task_types : mapping of target to {"regression", "classification"}
        In the order of the columns.
    settings : FineTuning, optional
    random_state : int
    progress : callable, optional
        Called as ``progress(label, epochs_done, epochs_total)``.

    Raises
    ------
    DataError
        If a target has fewer than two usable labels, or class labels are neither 0 nor 1.
    TrainingError
        If the loss is not finite.
    """
    training = _Training(
        featurizer, list(smiles), np.asarray(labels, dtype=np.float64), dict(task_types), settings or FineTuning(), random_state
    )
    with training.hardware.isolated():
        return training.run(progress or (lambda label, done, total: None))


class _Training:
    """The rows of one fine-tuning, prepared on their device, and the trainings that it takes."""

    def __init__(
        self,
        featurizer: MoleculeFeaturizer,
        smiles: list[Any],
        labels: np.ndarray,
        task_types: dict[str, str],
        settings: FineTuning,
        random_state: int,
    ) -> None:
        self.featurizer, self.smiles, self.labels, self.task_types = featurizer, smiles, labels, task_types
        self.settings, self.random_state, self.seed = settings, random_state, mix_words(random_state, "fine-tuning")
        self.hardware = Hardware.resolve(TrainerConfig(device=featurizer.device, precision="fp32"))
        self.device = torch.device(self.hardware.device)
        frozen, self.molecules = featurizer.transform(smiles), molecule_numbers(smiles)
        self.frozen = FeatureSet("embedding", {"embedding": frozen}, ~np.isnan(frozen).all(axis=1), self.molecules)
        self.rows = np.flatnonzero(self.frozen.valid & np.isfinite(labels).any(axis=1))
        # The entries of the columns are the distinct SMILES of the usable rows.
        numbers, unique = pd.factorize(np.array([str(smiles[row]) for row in self.rows], dtype=object))
        self.entries = np.full(len(smiles), -1, dtype=np.int64)
        self.entries[self.rows] = numbers
        self.twin = from_pretrained(featurizer.model)
        prepared = {view: self.twin.modalities[view].prepare(list(unique), featurizer.policy_).columns for view in featurizer.views_}
        self.columns = {view: {name: column.to(self.device) for name, column in parts.items()} for view, parts in prepared.items()}

    def run(self, progress: Progress) -> FineTuned:
        """Validate, choose the number of epochs, and train on all rows for so many."""
        most = self.settings.epochs
        folds, courses = self._folds(), sorted({0, most // 4, most // 2, most})
        total = sum(courses) * len(folds) + most
        told, held_out = _Counter(progress, total), np.full(self.labels.shape, np.nan)
        epochs, losses = 0, {}
        if folds:
            rows = np.concatenate([held for _, held in folds])
            predictions = np.stack(
                [np.concatenate([self._predict(self._train(train, course, told), held) for train, held in folds]) for course in courses]
            )
            spreads = np.nanstd(self.labels[self.rows], axis=0)
            of_rows = prediction_losses(predictions, self.labels[rows], list(self.task_types.values()), spreads)
            losses = dict(zip(courses, mean_over_targets(of_rows).tolist(), strict=True))
            epochs = min(courses, key=losses.__getitem__)
            is_first = pd.factorize(self.molecules[rows])[0] % 2 == 0
            for half in (is_first, ~is_first):
                chosen = int(mean_over_targets(of_rows[:, ~half]).argmin())
                held_out[rows[half]] = predictions[chosen, half]
        network = self._train(self.rows, epochs, told)
        progress("fine-tuning", total, total)
        heads = dict(zip(self.task_types, network.heads(), strict=True))
        return FineTuned(network.twin.cpu().eval(), heads, epochs, losses, folds, held_out, self.labels, self.molecules, self.settings)

    def _folds(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Rows learned from and held out, all rows of a molecule on one side; none where there are too few for a choice."""
        is_single = len(self.task_types) == 1
        task_type = next(iter(self.task_types.values())) if is_single else "regression"
        labels = self.labels[self.rows, 0] if is_single else np.zeros(len(self.rows))
        try:
            folds = random_folds(labels, task_type, _FOLDS, self.random_state, self.molecules[self.rows])
        except DataError as error:
            logger.warning("the encoder stays as it is, because fine-tuning cannot be validated: %s", error)
            return []
        return [(self.rows[train], self.rows[held]) for train, held in (folds if len(self.rows) <= _FEW_ROWS else folds[:1])]

    def _train(self, rows: np.ndarray, n_epochs: int, told: "_Counter") -> FineTunedNetwork:
        """Return a network that took a whole course of so many epochs on some rows."""
        settings, heads = self.settings, self._frozen_heads(rows)
        network = FineTunedNetwork(
            copy.deepcopy(self.twin),
            self.featurizer.views_,
            self.featurizer.output,
            heads,
            self.frozen.blocks["embedding"][rows],
            settings.dropout,
        ).to(self.device)
        store, targets = self._store(rows), Targets.of(self.labels[rows], heads, self.device)
        groups = network.parameter_groups(encoder_factor=settings.encoder_factor, weight_decay=settings.weight_decay)
        trained = [parameter for group in groups for parameter in group["params"]]
        optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
        batch_size = min(settings.batch_size, max(_SMALLEST_BATCH, len(rows) // _STEPS_PER_EPOCH))
        n_steps = -(-len(rows) // batch_size)
        for epoch in range(n_epochs):
            network.train()
            for position in range(n_steps):
                step = epoch * n_steps + position
                rate = learning_rate(step, total_steps=n_steps * n_epochs, peak=settings.learning_rate, final=0.0, warmup=settings.warmup)
                set_learning_rates(optimiser, rate, peak=settings.learning_rate)
                self.hardware.seed(self.seed, "step", step)
                batch = store.batch(epoch, position, batch_size)
                loss = network.penalised(targets.loss(network(batch, augmented=settings.augment), batch.samples))
                optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(trained, settings.clip_norm, foreach=True)
                optimiser.step()
            if not torch.isfinite(loss):
                raise TrainingError(
                    f"the loss of fine-tuning is {float(loss)} after epoch {epoch + 1} of {n_epochs}; lower its learning_rate "
                    f"({settings.learning_rate:g}) or encoder_factor ({settings.encoder_factor:g})"
                )
            told.one_more()
        return network

    def _frozen_heads(self, rows: np.ndarray) -> list[LinearOutput]:
        """The linear heads of the frozen encoder; in a fold, a target without two labels is predicted as NaN."""
        labels = np.full(self.labels.shape, np.nan)
        labels[rows] = self.labels[rows]
        heads = []
        for (name, task_type), column in zip(self.task_types.items(), labels.T, strict=True):
            head = LinearOutput(task_type=task_type, random_state=self.random_state)
            if np.isfinite(column).sum() < 2 and len(rows) < len(self.rows):
                head.constant_ = np.nan
            else:
                with naming(name):
                    head.fit(self.frozen, column)
            heads.append(head)
        return heads

    def _store(self, rows: np.ndarray) -> SampleStore:
        entries = torch.from_numpy(self.entries[rows])
        samples = Samples(dict.fromkeys(self.columns, entries), rows, {}, {})
        modalities = {view: self.twin.modalities[view] for view in self.columns}
        return SampleStore(modalities, self.columns, samples, seed=self.seed, device=self.device)

    def _predict(self, network: FineTunedNetwork, rows: np.ndarray) -> np.ndarray:
        store = self._store(rows)
        blocks = torch.arange(len(rows), device=self.device).split(_BLOCK)
        return np.concatenate([network.predict(GlobalBatch(store, block, epoch=0)) for block in blocks])


class _Counter:
    """Tells how many epochs were trained, over all courses."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def one_more(self) -> None:
        self._done += 1
        self._progress("fine-tuning", self._done, self._total)
