"""The errors molbt raises, and the two helpers that word them.

Every message says what was expected, what came, where, and what to do.
"""

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class MolbtError(Exception):
    """Base of every error that molbt raises on purpose."""


class ConfigError(MolbtError, ValueError):
    """A setting, option or name that cannot be used."""


class DataError(MolbtError, ValueError):
    """A file, table or column that cannot be used."""


class InvalidMoleculeError(MolbtError, ValueError):
    """Molecules that cannot be used, where the caller asked for all of them."""


class ShapeError(MolbtError, ValueError):
    """An array whose shape does not fit."""


class CheckpointError(MolbtError, RuntimeError):
    """A saved model, run or predictor that is missing, damaged or of another kind."""


class TrainingError(MolbtError, RuntimeError):
    """A training run that cannot go on (for example a loss that is not finite)."""


class ExecutionError(MolbtError, RuntimeError):
    """Work that processes or machines could not finish: a scheduler out of reach, a worker that dies at every attempt."""


class MissingDependencyError(MolbtError, ImportError):
    """An optional package that a feature needs is not installed."""


class Interrupted(MolbtError):  # noqa: N818  # a request that was met, not an error
    """The run was asked to stop and has saved its state."""


def suggestion(name: str, valid: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'? Valid: a, b, x"`` for an unknown name."""
    valid = sorted(valid)
    close = difflib.get_close_matches(str(name), valid, n=1)
    start = f"; did you mean {close[0]!r}?" if close else "."
    return f"{start} Valid: {', '.join(valid) or 'none'}"


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional package, or say which ``pip install`` line brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"{purpose} needs the package {module!r}, which is not installed; run: pip install 'molbt[{extra}]'"
        ) from error
