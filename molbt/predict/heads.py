"""The heads by name, all with the interface of ``Head``."""

from collections.abc import Mapping
from typing import Any

from molbt.errors import ConfigError, suggestion
from molbt.predict.automatic import Automatic
from molbt.predict.boosting import LightGBM
from molbt.predict.forest import ForestHead
from molbt.predict.gaussian_process import GaussianProcess
from molbt.predict.head import TASK_TYPES, Head
from molbt.predict.kernel_heads import DenseSVM, TanimotoSVM
from molbt.predict.linear_heads import LogisticHead, RidgeHead
from molbt.predict.neighbours import Neighbours
from molbt.predict.prototypes import EuclideanPrototypes, MahalanobisPrototypes
from molbt.predict.tanimoto_logistic import TanimotoLogistic

HEADS: dict[str, type[Head]] = {
    head.name: head
    for head in (
        Automatic,
        LightGBM,
        TanimotoSVM,
        GaussianProcess,
        TanimotoLogistic,
        Neighbours,
        RidgeHead,
        LogisticHead,
        DenseSVM,
        ForestHead,
        EuclideanPrototypes,
        MahalanobisPrototypes,
    )
}


def build_head(name: str, task_type: str = "regression", *, random_state: int = 0, n_jobs: int = 1, **parameters: Any) -> Head:
    """Return an unfitted head.

    Parameters
    ----------
    name : str
        A key of ``HEADS``.
    task_type : {"regression", "classification"}
    random_state, n_jobs : int
    **parameters
        The head's own, as ``Head.parameters`` returns them.

    Raises
    ------
    ConfigError
        If the name, the task type or a parameter is unknown, a parameter has another type than its default, or the head does not do that
        type of task.
    """
    if name not in HEADS:
        raise ConfigError(f"unknown head {name!r}{suggestion(name, HEADS)}")
    kind = HEADS[name]
    if task_type not in TASK_TYPES:
        raise ConfigError(f"unknown task type {task_type!r}{suggestion(task_type, TASK_TYPES)}")
    if task_type not in kind.task_types:
        others = [other for other, head in HEADS.items() if task_type in head.task_types]
        raise ConfigError(f"the head {name!r} does {kind.task_types[0]} only, got task_type={task_type!r}; use one of {', '.join(others)}")
    check_parameters(name, parameters)
    return kind(task_type=task_type, random_state=random_state, n_jobs=n_jobs, **parameters)


def check_parameters(name: str, parameters: Mapping[str, Any]) -> None:
    """Raise ConfigError for a parameter that the head lacks, or that has another type than the head's default."""
    defaults = HEADS[name]().parameters()
    for parameter, value in parameters.items():
        if parameter not in defaults:
            raise ConfigError(f"unknown parameter {parameter!r} of the head {name!r}{suggestion(parameter, defaults)}")
        if not _is_like(value, defaults[parameter]):
            raise ConfigError(
                f"the parameter {parameter!r} of the head {name!r} must be of the type of its default {defaults[parameter]!r}, "
                f"received {value!r:.40}; give such a value"
            )


def _is_like(value: object, default: object) -> bool:
    if isinstance(default, list | tuple):
        types = (str,) if isinstance(default[0], str) else (int, float)
        return isinstance(value, list | tuple) and len(value) > 0 and all(type(entry) in types for entry in value)
    if isinstance(default, str):
        return type(value) in (str, float)  # a word in the place of a number, such as a share of the features
    return type(value) is type(default) or (type(default), type(value)) == (float, int)
