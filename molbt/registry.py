"""A name is a module name: ``find("objectives", "barlow_twins")`` is the class in ``molbt/objectives/barlow_twins.py``.

There is no decorator and no central list. A third party adds a part with an entry point in the group
``molbt.objectives``, ``molbt.modalities``, ``molbt.benchmarks`` or ``molbt.zero_shot_methods``.
"""

import importlib
import inspect
import pkgutil
from functools import cache
from importlib.metadata import entry_points

from molbt.errors import ConfigError, suggestion

# kind -> (package whose modules are the names, base class of what they define)
_KINDS = {
    "objectives": ("molbt.objectives", "Objective"),
    "modalities": ("molbt.modalities", "Modality"),
    "benchmarks": ("molbt.evaluation.benchmarks", "Benchmark"),
    "zero_shot_methods": ("molbt.evaluation.zero_shot.methods", "ZeroShotMethod"),
}


def available(kind: str) -> list[str]:
    """Return the names of one kind, sorted, without importing their modules."""
    package_name, _ = _package(kind)
    package = importlib.import_module(package_name)
    own = {m.name for m in pkgutil.iter_modules(package.__path__) if m.name != "base" and not m.name.startswith("_")}
    return sorted(own | {point.name for point in entry_points(group=f"molbt.{kind}")})


@cache
def find(kind: str, name: str) -> type:
    """Return the class that a name stands for, importing its module on first use.

    Raises
    ------
    ConfigError
        If the name is unknown (the valid names and the closest one are listed), or if the module
        does not define exactly one public class of the kind.
    """
    package_name, base_name = _package(kind)
    for point in entry_points(group=f"molbt.{kind}"):
        if point.name == name:
            return point.load()
    if name not in available(kind):
        raise ConfigError(f"unknown name {name!r} in {kind}{suggestion(name, available(kind))}")
    module = importlib.import_module(f"{package_name}.{name}")
    base = getattr(importlib.import_module(f"{package_name}.base"), base_name)
    found = [
        value
        for key, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, base) and value.__module__ == module.__name__ and not key.startswith("_")
    ]
    if len(found) != 1:
        raise ConfigError(
            f"{module.__name__} must define exactly one public subclass of {base_name}, found {len(found)}; "
            "give helper classes a leading underscore or a module of their own"
        )
    return found[0]


def _package(kind: str) -> tuple[str, str]:
    if kind not in _KINDS:
        raise ConfigError(f"unknown kind {kind!r}{suggestion(kind, _KINDS)}")
    return _KINDS[kind]
