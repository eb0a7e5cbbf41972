"""Numbered places of a run where it can be killed, or where the disk can be full."""

import builtins
import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch

from molbt.training.state import TrainingState

Act = Callable[[int, str], None]
"""Called at each place with its number, from 1, and its name such as ``"before replace"``."""


def nothing(number: int, name: str) -> None:
    """Only count."""


def kill_at(place: int) -> Act:
    def act(number: int, name: str) -> None:
        if number == place:
            os.kill(os.getpid(), signal.SIGKILL)

    return act


def disk_full_from(place: int) -> Act:
    """From a place on whatever needs space fails; removing and renaming do not."""

    def act(number: int, name: str) -> None:
        if number >= place and name in ("before open", "amid write", "before fsync", "before mkdir"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return act


class Places:
    """Calls ``act`` before, amid and after everything that changes files, optimiser steps and the making of a checkpoint.

    Attributes
    ----------
    names : list of str
        Of the places passed so far.
    """

    def __init__(self, patch: pytest.MonkeyPatch, act: Act = nothing) -> None:
        self.names: list[str] = []
        self.act = act
        for owner, name in ((os, "replace"), (os, "fsync"), (Path, "unlink"), (Path, "mkdir"), (TrainingState, "to_tensors")):
            patch.setattr(owner, name, self._around(name, getattr(owner, name)))
        patch.setattr(torch.optim.AdamW, "step", self._in_two_parts(torch.optim.AdamW.step))
        patch.setattr("molbt.data.files.open", self._open, raising=False)

    def _pass(self, name: str) -> None:
        self.names.append(name)
        self.act(len(self.names), name)

    def _around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._pass(f"before {name}")
            result = function(*args, **kwargs)
            self._pass(f"after {name}")
            return result

        return call

    def _in_two_parts(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """AdamW treats each parameter alone, so a step of some groups and then of the others is the step of all."""

        def call(optimiser: torch.optim.Optimizer) -> None:
            groups = optimiser.param_groups
            self._pass("before step")
            optimiser.param_groups = groups[:1]
            step(optimiser)
            self._pass("amid step")
            optimiser.param_groups = groups[1:]
            step(optimiser)
            optimiser.param_groups = groups
            self._pass("after step")

        return call

    def _open(self, path: Path, mode: str) -> "BinaryIO | _HalvedWrites":
        if "w" not in mode:
            return builtins.open(path, mode)
        self._pass("before open")
        return _HalvedWrites(builtins.open(path, mode, buffering=0), self._pass)


class _HalvedWrites:
    """A file to which half of what is written has gone at the place "amid write"."""

    def __init__(self, file: Any, pass_place: Callable[[str], None]) -> None:
        self._file = file
        self._pass = pass_place

    def write(self, content: bytes) -> int:
        content = bytes(content)
        half = len(content) // 2
        self._file.write(content[:half])
        self._pass("amid write")
        self._file.write(content[half:])
        return len(content)

    def __enter__(self) -> "_HalvedWrites":
        return self

    def __exit__(self, *reason: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
