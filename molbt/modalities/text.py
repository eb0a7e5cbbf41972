"""Text as embeddings of a frozen language model, each wording embedded once."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from molbt.data.columns import FixedColumn
from molbt.data.molecules import ParsePolicy
from molbt.draws import Draws
from molbt.modalities._language_model import LanguageModel
from molbt.modalities._wordings import Shuffle, fill
from molbt.modalities.base import Columns, Modality, Prepared
from molbt.nn.text_encoder import TextEncoder


class Text(Modality):
    """Embeddings of any encoder or decoder of the ``transformers`` library, standardised by what training texts show.

    A cell is a text, or a JSON list of wordings of one text (the first is the text itself, and the one that is embedded where nothing is
    augmented).

    Attributes
    ----------
    model : str
        ``minilm`` (all-MiniLM-L6-v2, extra ``text``), a directory, or the name of a model in the Hugging Face cache or hub with a
        ``revision``. Safetensors only; no code of a model is run.
    revision : str, optional
        Commit of a hub model.
    sha256 : str
        Of the model's weights, tokenizer and configuration; written out as soon as the modality is built, and checked whenever the model
        is read, so a saved configuration cannot meet another model.
    pooling : {"mean", "cls", "last"}
        Mean over the tokens, the first token, or the last one (decoders).
    max_tokens : int
        Tokens read at once; longer texts are read in windows, averaged by their numbers of tokens.
    normalise : bool
        Embeddings of length 1, as sentence encoders are meant to be used.
    precision : {"fp32", "bf16"}
        Of the language model's matrix products; bf16 is faster where the processor computes it natively.
    wordings : int
        Wordings kept of each text: those in the cell, then shuffled ones.
    shuffle : {"none", "within", "across"}
        Sentences are shuffled within their paragraph or across the text.
    reword : float
        Augmentation: probability that a wording is drawn at random instead of the first one.
    """

    augmentations: ClassVar[frozenset[str]] = frozenset({"reword"})
    is_molecular: ClassVar[bool] = False

    model: str = "minilm"
    revision: str | None = None
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    pooling: Literal["mean", "cls", "last"] = "mean"
    max_tokens: int = Field(default=256, ge=8, le=1 << 17)
    normalise: bool = True
    precision: Literal["fp32", "bf16"] = "fp32"
    wordings: int = Field(default=1, ge=1, le=64)
    shuffle: Shuffle = "none"
    reword: float = Field(default=0.0, ge=0.0, le=1.0)

    @model_validator(mode="before")
    @classmethod
    def _name_the_model_by_its_hash(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("sha256"):
            name, revision = values.get("model", cls.model_fields["model"].default), values.get("revision")
            return {**values, "sha256": LanguageModel.find(name, revision).sha256}
        return values

    def preparation(self) -> dict[str, Any]:
        """As for any modality, but a language model is known by its hash: where it lies does not matter."""
        return {name: value for name, value in super().preparation().items() if name not in ("model", "revision")}

    def prepare(self, values: Sequence[str], policy: ParsePolicy) -> Prepared:
        """Embed each distinct wording once. A blank text is refused and has an entry of NaN.

        Returns
        -------
        Prepared
            One fixed column ``embeddings``: ``(values, wordings, width of the language model)`` float32.
        """
        texts = [fill(value, self.wordings, self.shuffle) for value in values]
        language_model = LanguageModel.find(self.model, self.revision, sha256=self.sha256)
        numbers: dict[str, int] = {}
        place = [[numbers.setdefault(text, len(numbers)) for text in wordings] for wordings in texts]
        embedded = language_model.embed(
            list(numbers), pooling=self.pooling, max_tokens=self.max_tokens, normalise=self.normalise, precision=self.precision
        )
        embeddings = np.full((len(values), self.wordings, embedded.shape[1]), np.nan, dtype=np.float32)
        for row, places in enumerate(place):
            if places:
                embeddings[row] = embedded[places]
        return Prepared({"embeddings": FixedColumn.from_numpy(embeddings)}, ["" if wordings else "blank" for wordings in texts])

    def fit(self, columns: Columns, index: np.ndarray) -> dict[str, np.ndarray]:
        """Return ``centre`` and ``scale``: mean and standard deviation of each coordinate over the distinct texts at ``index``, float32."""
        values = _embeddings(columns).values.numpy()[np.unique(index), 0].astype(np.float64)
        values = values[np.isfinite(values).all(axis=1)]
        centre = values.mean(axis=0) if len(values) else np.zeros(values.shape[1])
        scale = values.std(axis=0) if len(values) else np.ones(values.shape[1])
        return {"centre": centre.astype(np.float32), "scale": np.where(scale > 1e-12, scale, 1.0).astype(np.float32)}

    def collate(self, columns: Columns, index: Tensor) -> Tensor:
        """Gather all wordings: ``(batch, wordings, width)`` float32; the encoder reads the first."""
        return _embeddings(columns).gather(index)

    def augment(self, batch: Tensor, draws: Draws) -> Tensor:
        """Return one wording of each text, ``(batch, 1, width)``: the first, or with probability ``reword`` any of them."""
        chosen = torch.zeros(len(batch), dtype=torch.int64, device=batch.device)
        if self.reword:
            drawn = (draws.stream("wording").uniform() * self.wordings).to(torch.int64).clamp(max=self.wordings - 1)
            chosen = torch.where(draws.stream("reword").uniform() < self.reword, drawn, chosen)
        return batch[torch.arange(len(batch), device=batch.device), chosen].unsqueeze(1)

    def build_encoder(  # type: ignore[override]  # the parameters are spelled out: they are the keys of the configuration
        self,
        *,
        embedding_dim: int = 512,
        fitted: Mapping[str, Tensor],
        hidden: Sequence[int] = (1024,),
        activation: str = "gelu",
        dropout: float = 0.0,
        input_dropout: float = 0.0,
    ) -> TextEncoder:
        """Return the network of ``molbt.nn.text_encoder``; ``fitted`` holds what ``fit`` returned."""
        return TextEncoder(
            embedding_dim=embedding_dim,
            fitted=fitted,
            winsorise=8.0,
            hidden=hidden,
            activation=activation,
            dropout=dropout,
            input_dropout=input_dropout,
        )

    def dense(self, columns: Columns, index: np.ndarray) -> np.ndarray:
        """Return the embeddings of the first wordings at ``index``: ``(rows, width)`` float32."""
        return _embeddings(columns).gather(torch.as_tensor(index, dtype=torch.int64))[:, 0].numpy()


def _embeddings(columns: Columns) -> FixedColumn:
    return cast(FixedColumn, columns["embeddings"])
