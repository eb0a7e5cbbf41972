"""Device, precision and threads are resolved once, and the process keeps its own."""

import signal
import threading

import pytest
import torch

from molbt.config import TrainerConfig
from molbt.errors import ConfigError
from molbt.training.hardware import Hardware, StopRequest, resolve_device


def test_settings_are_taken_from_the_configuration():
    hardware = Hardware.resolve(TrainerConfig(device="cpu", precision="bf16", num_threads=3))
    assert (hardware.device, hardware.precision, hardware.num_threads) == ("cpu", "bf16", 3)
    assert Hardware(**hardware.as_dict()) == hardware


@pytest.mark.parametrize(("flags", "expected"), [({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({"avx2": True}, "fp32")])
def test_precision_follows_the_processors_flags(monkeypatch, flags, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags)
    assert Hardware.resolve(TrainerConfig(device="cpu")).precision == expected


def test_ranks_of_one_machine_take_a_gpu_each(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card {device}")
    monkeypatch.setattr("molbt.training.hardware.world_size", lambda: 4)
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert Hardware.resolve(TrainerConfig(precision="fp32")).device == "cuda:2"


@pytest.mark.parametrize("device", ["gpu0", "cuda:x", ""])
def test_device_that_torch_does_not_know_is_refused(device):
    with pytest.raises(ConfigError, match="expected a device such as"):
        resolve_device(device)


def test_missing_gpu_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="finds no CUDA device"):
        resolve_device("cuda:0")
    assert resolve_device("auto") == "cpu"


def test_threads_and_random_state_are_those_of_the_process_again():
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    hardware = Hardware("cpu", "fp32", threads + 1, "here")

    @hardware.isolated()
    def fail_with_other_settings() -> None:
        assert torch.get_num_threads() == threads + 1
        hardware.seed(0, "step", 3)
        torch.rand(5)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_with_other_settings()
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_seed_decides_what_is_drawn():
    hardware = Hardware("cpu", "fp32", 1, "here")
    drawn = []
    with hardware.isolated():
        for words in ((0, "step", 3), (0, "step", 3), (0, "step", 4), (1, "step", 3)):
            hardware.seed(*words)
            drawn.append(torch.rand(4))
    assert torch.equal(drawn[0], drawn[1])
    assert not any(torch.equal(drawn[0], other) for other in drawn[2:])


@pytest.fixture
def interruptible():
    """As in a terminal: a test process that another one started may ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_first_signal_asks_and_second_one_acts_at_once():
    with StopRequest().listening() as stop:
        assert not stop
        signal.raise_signal(signal.SIGINT)
        assert stop
        assert stop.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_outside_the_main_thread_signals_are_left_alone():
    found = []

    def listen() -> None:
        with StopRequest().listening() as stop:
            found.append((bool(stop), signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert found == [(False, signal.getsignal(signal.SIGTERM))]
