"""A frozen language model that turns texts into vectors: each text once, sorted by length, long ones in windows."""

from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from molbt.errors import CheckpointError, ConfigError
from molbt.modalities._text_models import TextModelFiles, find_text_model, load_text_model

_TOKENS_PER_BATCH = 1_024  # padded; with more of them the layers leave the processor's cache: 1.3 to 1.5 × the time for 8,192


class LanguageModel:
    """An encoder or decoder of the ``transformers`` library with its tokenizer, read when it is first used.

    Use ``find``: it keeps the last models, so that shards and views share one.
    """

    def __init__(self, files: TextModelFiles) -> None:
        self._files = files

    @classmethod
    def find(cls, name: str, revision: str | None = None, *, sha256: str = "") -> "LanguageModel":
        """Return a model by its name (see ``find_text_model``).

        Raises
        ------
        CheckpointError
            If ``sha256`` is given and the files have another.
        """
        found = _find(name, revision)
        if sha256 and found.sha256 != sha256:
            raise CheckpointError(
                f"expected the language model with SHA-256 {sha256[:12]}…, found {found.sha256[:12]}… in {found._files.directory}; give "
                "the same files as in training, or leave out sha256 to train with these"
            )
        return found

    @property
    def sha256(self) -> str:
        """Of everything that decides the embeddings: weights, tokenizer and configuration."""
        return self._files.sha256

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        return load_text_model(self._files)

    def embed(
        self,
        texts: Sequence[str],
        *,
        pooling: Literal["mean", "cls", "last"] = "mean",
        max_tokens: int = 256,
        normalise: bool = True,
        precision: Literal["fp32", "bf16"] = "fp32",
    ) -> np.ndarray:
        """Return the vectors of texts: ``(texts, width)`` float32.

        In float32, and but for rounding (about 1e-6) alike in any batch: padding is masked.

        Parameters
        ----------
        texts : sequence of str
            Distinct texts; repeated ones would be computed again.
        pooling : {"mean", "cls", "last"}
        max_tokens : int
            Length of a window, special tokens included. The windows of a longer text are averaged by their numbers of tokens (with
            ``last``, the last window counts alone).
        normalise : bool
            Scale each vector to length 1.
        precision : {"fp32", "bf16"}
            Of the matrix products; bf16 is faster where the processor computes it natively, and a little less exact.

        Raises
        ------
        ConfigError
            If the model takes no windows of ``max_tokens``.
        """
        tokenizer, network = self._loaded
        limit = getattr(network.config, "max_position_embeddings", None)
        if limit is not None and max_tokens > limit:
            raise ConfigError(
                f"max_tokens must be at most {limit} for this language model, received {max_tokens}; longer texts are windowed"
            )
        width = int(network.config.hidden_size)
        summed = torch.zeros(len(texts), width, dtype=torch.float64)
        if not texts:
            return summed.float().numpy()
        windows = tokenizer(list(texts), truncation=True, max_length=max_tokens, return_overflowing_tokens=True)
        text_of = np.asarray(windows["overflow_to_sample_mapping"])
        ids = windows["input_ids"]
        if pooling == "last":
            is_last = np.append(text_of[1:] != text_of[:-1], True)
            ids, text_of = [each for each, last in zip(ids, is_last, strict=True) if last], text_of[is_last]
        lengths = np.array([len(each) for each in ids])
        for batch in _batches(lengths):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
                vectors = self._vectors([ids[i] for i in batch], pooling)
            summed.index_add_(0, torch.as_tensor(text_of[batch]), vectors.double() * torch.as_tensor(lengths[batch])[:, None])
        vectors = summed / torch.as_tensor(np.bincount(text_of, lengths, minlength=len(texts)))[:, None]
        if normalise:
            vectors = torch.nn.functional.normalize(vectors, dim=1)
        return vectors.float().numpy()

    def _vectors(self, ids: Sequence[Sequence[int]], pooling: str) -> Tensor:
        """Return the pooled last hidden states of some windows: ``(windows, width)`` float32."""
        tokenizer, network = self._loaded
        tokens = torch.nn.utils.rnn.pad_sequence(
            [torch.as_tensor(each) for each in ids], batch_first=True, padding_value=tokenizer.pad_token_id or 0
        )
        lengths = torch.tensor([len(each) for each in ids])
        mask = torch.arange(tokens.shape[1]) < lengths[:, None]
        with torch.inference_mode():
            hidden = network(input_ids=tokens, attention_mask=mask.long()).last_hidden_state
        if pooling == "cls":
            return hidden[:, 0]
        if pooling == "last":
            return hidden[torch.arange(len(ids)), lengths - 1]
        return (hidden * mask[:, :, None]).sum(dim=1) / lengths[:, None]


def _batches(lengths: np.ndarray) -> Iterator[np.ndarray]:
    """Yield positions of windows of similar length, the longest first: what memory is needed shows at once."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, _TOKENS_PER_BATCH // max(1, int(lengths[order[start]])))
        yield order[start : start + size]
        start += size


@lru_cache(maxsize=4)
def _find(name: str, revision: str | None) -> LanguageModel:
    return LanguageModel(find_text_model(name, revision))
