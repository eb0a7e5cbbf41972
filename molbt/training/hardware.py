"""Device, precision and thread count: resolved once from the configuration and the machine, written into the run, kept on resume."""

import contextlib
import os
import platform
import signal
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch

from molbt.config import TrainerConfig
from molbt.draws import mix_words
from molbt.errors import ConfigError
from molbt.nn.collectives import world_size
from molbt.training.allocation import kept_memory
from molbt.training.ranks import local_rank


@dataclass(frozen=True)
class Hardware:
    """What a run computes on; two runs with equal settings here give the same bits on a CPU."""

    device: str
    precision: str
    num_threads: int
    machine: str

    @classmethod
    def resolve(cls, trainer: TrainerConfig) -> "Hardware":
        """Choose from the configuration and the processor's flags; nothing is timed. Ranks of one machine take a GPU each."""
        device = resolve_device(trainer.device)
        if device == "cuda" and world_size() > 1:
            device = f"cuda:{local_rank()}"
        return cls(
            device=device,
            precision=_resolve_precision(trainer.precision, device),
            num_threads=trainer.num_threads or torch.get_num_threads(),
            machine=_machine_name(device),
        )

    def as_dict(self) -> dict[str, object]:
        return asdict(self)

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Matrix products in bfloat16 where the run's precision says so; weights stay float32."""
        return torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16, enabled=self.precision == "bf16")

    def seed(self, *words: int | str) -> None:
        """Set the generators that dropout and initialisation draw from: those of the CPU and of the run's device, no other."""
        torch.default_generator.manual_seed(mix_words(*words))
        device = torch.device(self.device)
        if device.type == "cuda":
            torch.cuda.init()
            index = torch.cuda.current_device() if device.index is None else device.index
            torch.cuda.default_generators[index].manual_seed(mix_words(*words))

    @contextlib.contextmanager
    def isolated(self) -> Iterator[None]:
        """Set the thread count, keep freed memory for the next step, and leave the process's own random state and settings as they were."""
        threads = torch.get_num_threads()
        devices = [torch.device(self.device)] if self.device.startswith("cuda") else []
        torch.set_num_threads(self.num_threads)
        try:
            with torch.random.fork_rng(devices=devices), kept_memory():
                yield
        finally:
            torch.set_num_threads(threads)


def resolve_device(device: str) -> str:
    """Return a device that exists: ``auto`` is CUDA when there is one, else the CPU."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise ConfigError(f"expected a device such as auto, cpu, cuda or cuda:1, received {device!r}") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {device!r} was asked for, but torch finds no CUDA device here; use auto or cpu")
    return device


def _resolve_precision(precision: str, device: str) -> str:
    if precision != "auto":
        return precision
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    capabilities = torch.cpu.get_capabilities()
    return "bf16" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "fp32"


def _machine_name(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    name = torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


class StopRequest:
    """Set by SIGINT or SIGTERM, so that a loop can save and leave between two steps; a second signal acts at once.

    Outside the main thread no handler can be installed: then it is never set.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    @contextlib.contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def remember(number: int, frame: object) -> None:
            self.signal = number
            for known, handler in previous.items():
                signal.signal(known, handler)

        for number in previous:
            signal.signal(number, remember)
        try:
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
