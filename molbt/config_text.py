"""Configurations as text: strict YAML, ``key.subkey=value`` changes, and differences and mistakes in words."""

import copy
import re
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import yaml
from pydantic import ValidationError

from molbt.errors import ConfigError

MAX_CHARACTERS = 1 << 18
"""A longer configuration is not read."""

_LONGEST_NUMBER = 100


def parse_yaml(text: str, *, source: str) -> Any:
    """Read YAML: numbers such as ``1e-3`` are numbers, and a key that is given twice is refused.

    Raises
    ------
    ConfigError
        If the text is not YAML, with the line, or too long; ``source`` is what the message calls it.
    """
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(f"{source} has {len(text):,} characters, a configuration has at most {MAX_CHARACTERS:,}; is it another file?")
    try:
        return yaml.load(text, Loader=_StrictSafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # dates that are none, brackets within brackets by the thousand
        reason = " ".join(str(error).split())
        raise ConfigError(f"{source} is not valid YAML: {reason}; compare it with the shape in the README") from error


def apply_changes(values: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Return a copy of nested settings with ``objectives.0.weight=0.5`` applied; a number in the path is a position in a list.

    Raises
    ------
    ConfigError
        If a change is not ``KEY.SUBKEY=VALUE``, or its path leads nowhere.
    """
    changed = copy.deepcopy(dict(values))
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals or not path:
            raise ConfigError(f"expected KEY.SUBKEY=VALUE, received {change!r}; for example --set trainer.epochs=20")
        value = parse_yaml(text, source=f"the value in {change!r}")
        place: Any = changed
        *parents, last = path.split(".")
        for depth, key in enumerate(parents):
            here = ".".join(parents[:depth])
            place = place[_position(place, key, here)] if isinstance(place, list) else _section(place, here, path).setdefault(key, {})
        here = ".".join(parents)
        if isinstance(place, list):
            place[_position(place, last, here)] = value
        else:
            _section(place, here, path)[last] = value
    return changed


def differences(old: Mapping[str, Any], new: Mapping[str, Any], *, prefix: str = "") -> list[str]:
    """Return one line per setting in which two resolved configurations differ: ``trainer.epochs: 20 -> 30``."""
    lines = []
    for key in sorted({*old, *new}):
        before, after = _as_mapping(old.get(key), new.get(key)), _as_mapping(new.get(key), old.get(key))
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            lines += differences(before, after, prefix=f"{prefix}{key}.")
        elif before != after:
            lines.append(f"{prefix}{key}: {before} -> {after}")
    return lines


def describe_problems(error: ValidationError, *, where: str) -> str:
    """Turn pydantic's list of problems into one sentence: place, what was expected, what came."""
    sentences = []
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        received = "" if isinstance(problem["input"], Mapping) or "received" in message else f", received {problem['input']!r}"
        sentences.append(f"{place}: {message}{received}" if place else f"{message}{received}")
    return f"{where} cannot be used: " + "; ".join(sentences)


class _StrictSafeLoader(yaml.SafeLoader):
    """PyYAML's safe loader without three of its surprises: ``1e-3`` read as text (YAML 1.1), the last of two equal keys winning, and
    aliases, of which nine lines make a billion values."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(
                None, None, "aliases (*name) are not read; write the value out, or use like: for a view", mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        counts = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key, count in counts.items():
            if count > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is given more than once", node.start_mark)
        return super().construct_mapping(node, deep=deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > _LONGEST_NUMBER:  # reading or printing it would take longer than all else
            raise yaml.constructor.ConstructorError(None, None, f"a number of {len(node.value):,} digits", node.start_mark)
        return super().construct_yaml_int(node)


_StrictSafeLoader.add_constructor("tag:yaml.org,2002:int", _StrictSafeLoader.construct_yaml_int)
_StrictSafeLoader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))


def _section(place: Any, here: str, path: str) -> dict[str, Any]:
    if not isinstance(place, dict):
        raise ConfigError(f"no setting at {path!r}: {here} is {place!r}, not a section; compare it with the shape in the README")
    return place


def _position(place: Sequence[Any], key: str, here: str) -> int:
    if not key.isdecimal() or int(key) >= len(place):
        raise ConfigError(
            f"no setting at {f'{here}.{key}'!r}: {here} is a list of {len(place)}; give a position from 0 to {len(place) - 1}"
        )
    return int(key)


def _as_mapping(value: Any, other: Any) -> Any:
    """A list of sections as a mapping by position, where both sides have as many, so that only what changed is shown."""
    if (
        isinstance(value, list)
        and isinstance(other, list)
        and len(value) == len(other)
        and all(isinstance(v, Mapping) for v in value + other)
    ):
        return {str(position): section for position, section in enumerate(value)}
    return value
