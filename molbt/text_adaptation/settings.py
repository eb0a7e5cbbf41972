"""How a language model is adapted to texts: one section, as a run's configuration has them."""

from typing import Literal

from pydantic import Field

from molbt.config import TrainerConfig
from molbt.config_sections import Section


class AdaptationConfig(Section):
    """Continued masked-language-model training: ``molbt.text_adaptation.adapt.adapt_text``.

    Attributes
    ----------
    epochs, max_steps : int
        Training ends after so many passes, or so many steps where these are fewer.
    batch_size : int
        Texts in a step.
    max_tokens : int
        Tokens of a text that are read at once, special ones included. A longer text gives one window per epoch, drawn at random.
    shuffle : {"none", "within", "across"}
        Augmentation: in each epoch the sentences of a text stand in another order, within their paragraph or through the whole text.
    learning_rate : float
        Peak; linear warm-up over the share ``warmup`` of the steps, then a half cosine down to 0.
    head_rate : float
        Learning rate of a head that begins untrained, over that of the rest.
    weight_decay : float
        Of weight matrices; norms and biases have none.
    clip_norm : float
        Largest norm of the gradient.
    lora_rank : int or None
        Train low-rank adapters of this rank in the linear layers of the body, and the head, in place of all weights (extra ``lora``); they
        are merged into the weights at the end.
    held_out : float
        Share of the texts that is not trained on.
    head_control : bool or None
        Train the head alone for as many steps, the body frozen, to compare with; None does so where the head begins untrained.
    seed : int
        Decides the split, the order, the masks, the shuffling, dropout, and what begins untrained.
    device, precision, num_threads
        As in ``TrainerConfig``.
    checkpoint_every : int
        Steps between checkpoints.
    """

    epochs: int = Field(3, ge=1)
    max_steps: int | None = Field(None, ge=1)
    batch_size: int = Field(32, ge=1)
    max_tokens: int = Field(256, ge=8, le=1 << 17)
    shuffle: Literal["none", "within", "across"] = "none"
    learning_rate: float = Field(1e-4, gt=0)
    warmup: float = Field(0.05, ge=0, lt=1)
    head_rate: float = Field(10.0, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    lora_rank: int | None = Field(None, ge=1, le=1024)
    held_out: float = Field(0.1, gt=0, le=0.5)
    head_control: bool | None = None
    seed: int = Field(0, ge=0)
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    num_threads: int | None = Field(None, ge=1)
    checkpoint_every: int = Field(200, ge=1)

    def trainer(self) -> TrainerConfig:
        """Return what decides the hardware, as the trainer's section has it."""
        return TrainerConfig(device=self.device, precision=self.precision, num_threads=self.num_threads)
