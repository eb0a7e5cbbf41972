"""The heads by name, all with the interface of ``Head``."""

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
        If the name, the task type or a parameter is unknown, or the head does not do that type of task.
    """
    if name not in HEADS:
        raise ConfigError(f"unknown head {name!r}{suggestion(name, HEADS)}")
    kind = HEADS[name]
    if task_type not in TASK_TYPES:
        raise ConfigError(f"unknown task type {task_type!r}{suggestion(task_type, TASK_TYPES)}")
    if task_type not in kind.task_types:
        others = [other for other, head in HEADS.items() if task_type in head.task_types]
        raise ConfigError(f"the head {name!r} does {kind.task_types[0]} only, got task_type={task_type!r}; use one of {', '.join(others)}")
    known = set(kind().parameters())
    for parameter in parameters:
        if parameter not in known:
            raise ConfigError(f"unknown parameter {parameter!r} of the head {name!r}{suggestion(parameter, known)}")
    return kind(task_type=task_type, random_state=random_state, n_jobs=n_jobs, **parameters)
