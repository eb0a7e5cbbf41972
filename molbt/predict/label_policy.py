"""The choices that lead from a measured column to labels."""

from dataclasses import dataclass

import numpy as np

from molbt.errors import ConfigError, suggestion
from molbt.predict.units import Conversion

_CHOICES = {
    "task_type": ("auto", "regression", "classification"),
    "censored": ("drop", "value"),
    "duplicates": ("median", "mean", "first", "keep"),
    "conflicts": ("drop", "mean", "keep"),
}


@dataclass(frozen=True, kw_only=True)
class LabelPolicy:
    """What becomes of the cells of a column.

    Parameters
    ----------
    task_type : {"auto", "regression", "classification"}
        ``auto``: classification when every cell that can be read is a class word, 0 or 1, or when there is a threshold.
    unit, scale : str
        As in `Conversion`.
    active_above, active_below : float, optional
        At most one of them: class 1 is at or above (at or below) this threshold, after the conversion.
    censored : {"drop", "value"}
        Regression: leave bounds out, or take them as measured. In classification a bound that does not decide the class is left out.
    duplicates : {"median", "mean", "first", "keep"}
        The one label of a molecule's several values; ``keep``: each row keeps its own. Classes: the majority, or the first.
    conflicts : {"drop", "mean", "keep"}
        What becomes of values that differ by more than ``max_spread``: none is used, their mean is used, or each row keeps its own. A tie
        of classes has no mean: it is dropped unless kept.
    max_spread : float, optional
        Largest difference between the values of one molecule, in units of the label. By default 1 (one log unit) where ``scale`` is
        logarithmic, and otherwise the standard deviation of all labels.

    Raises
    ------
    ConfigError
        If a choice is unknown, or two of them exclude each other.
    """

    task_type: str = "auto"
    unit: str | None = None
    scale: str = "none"
    active_above: float | None = None
    active_below: float | None = None
    censored: str = "drop"
    duplicates: str = "median"
    conflicts: str = "drop"
    max_spread: float | None = None

    def __post_init__(self) -> None:
        for name, valid in _CHOICES.items():
            if getattr(self, name) not in valid:
                raise ConfigError(
                    f"unknown value {getattr(self, name)!r} of {name} (--{name.replace('_', '-')}){suggestion(getattr(self, name), valid)}"
                )
        if self.active_above is not None and self.active_below is not None:
            raise ConfigError("expected one threshold, received --active-above and --active-below; leave one out")
        if self.has_threshold and self.task_type == "regression":
            raise ConfigError("a threshold makes classes, received --task-type regression beside it; leave one of them out")
        if self.task_type == "classification" and self.scale != "none" and not self.has_threshold:
            raise ConfigError(
                f"classes are not converted, received --task-type classification and --to {self.scale} without a threshold; pass "
                "--active-above or --active-below, or leave out --to"
            )
        if self.max_spread is not None and not self.max_spread >= 0:
            raise ConfigError(f"expected a largest spread of 0 or more, received {self.max_spread} (--max-spread)")
        _ = self.conversion

    @property
    def conversion(self) -> Conversion:
        return Conversion(self.unit, self.scale)

    @property
    def has_threshold(self) -> bool:
        return self.active_above is not None or self.active_below is not None

    @property
    def known_task_type(self) -> str:
        """The task type as far as it is known before any cell is read."""
        return "classification" if self.has_threshold else self.task_type

    def without_effect(self, task_type: str) -> list[str]:
        """Return the options that were given and change nothing for such labels, as the command line spells them."""
        for_classes, is_kept = task_type == "classification", self.duplicates == "keep"
        passed_over = {
            "--censored value": for_classes and self.censored == "value",
            f"--max-spread {self.max_spread:g}" if self.max_spread is not None else "": for_classes or is_kept,
            f"--conflicts {self.conflicts}": (for_classes and self.conflicts == "mean") or (is_kept and self.conflicts != "drop"),
            f"--target-unit {self.unit}" if self.unit else "": for_classes and not self.has_threshold,
        }
        return [option for option, is_passed_over in passed_over.items() if option and is_passed_over]

    def summary(self) -> str:
        """Return it in words: ``as measured; bounds drop; replicates median; conflicts drop``."""
        scale = "as measured" if self.scale == "none" else f"{self.scale} from {self.unit or 'numbers'}"
        threshold = {"above": self.active_above, "below": self.active_below}
        classes = "".join(f"; active at or {side} {value:g}" for side, value in threshold.items() if value is not None)
        spread = "" if self.max_spread is None else f" beyond {self.max_spread:g}"
        return f"{scale}{classes}; bounds {self.censored}; replicates {self.duplicates}; conflicts{spread} {self.conflicts}"

    def spread_limit(self, labels: np.ndarray) -> float:
        """Return the largest spread of replicates that is no conflict, given all labels: ``max_spread``, or its default."""
        if self.max_spread is not None:
            return self.max_spread
        return 1.0 if self.conversion.is_logarithmic else float(np.std(labels)) if len(labels) else 0.0
