"""The settings of fine-tuning."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError

from molbt.config_sections import Section
from molbt.config_text import describe_problems
from molbt.errors import ConfigError


class FineTuning(Section):
    """Settings of fine-tuning, chosen inside the training parts of four MoleculeACE targets.

    Attributes
    ----------
    epochs : int
        Of the longest course: validation chooses among this number, a half and a quarter of it, and none.
    batch_size : int
        Lowered for fewer than 512 rows, to a sixteenth of them, but not below 4.
    learning_rate : float
        Peak rate of the linear outputs.
    encoder_factor : float
        Rate of the encoder over that of the outputs; with 0 the encoder stays as it is.
    weight_decay : float
        Of the encoder's weight matrices. The outputs have the penalty that was chosen for the frozen encoder.
    dropout : float
        Share of the encoder's output set to zero.
    augment : bool
        Whether training sees the views' augmentations: without them the error was a hundredth to two hundredths lower.
    warmup : float
        Share of a course over which the learning rate rises; then it falls to zero.
    clip_norm : float
        Largest norm of the gradient.
    """

    epochs: int = Field(20, ge=1)
    batch_size: int = Field(32, ge=2)
    learning_rate: float = Field(1e-3, gt=0)
    encoder_factor: float = Field(3.0, ge=0)
    weight_decay: float = Field(1e-2, ge=0)
    dropout: float = Field(0.5, ge=0, lt=1)
    augment: bool = False
    warmup: float = Field(0.4, ge=0, lt=1)
    clip_norm: float = Field(5.0, gt=0)

    @classmethod
    def of(cls, values: "bool | Mapping[str, Any]") -> "FineTuning | None":
        """Return settings from ``True`` (as they are), a mapping of changes, or None for ``False``.

        Raises
        ------
        ConfigError
            If a name is unknown or a value out of range.
        """
        if values is False:
            return None
        try:
            return cls.model_validate({} if values is True else values)
        except ValidationError as error:
            raise ConfigError(describe_problems(error, where="finetune")) from error
