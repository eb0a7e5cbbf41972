"""What a run was started with, and whether it may be continued with what is asked for now."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ValidationError

from molbt import __version__
from molbt.config import RunConfig, differences
from molbt.config_text import describe_problems
from molbt.data.corpus import Corpus, Samples
from molbt.data.json_files import read_json
from molbt.errors import CheckpointError, ConfigError
from molbt.model.checkpoint import find_model, read_config
from molbt.nn.collectives import world_size
from molbt.training.hardware import Hardware

logger = logging.getLogger(__name__)

FORMAT = "molbt.run"
FORMAT_VERSION = 1
# What must be the same for the same bits, beside the configuration; how each is called in a message.
_IDENTITY = ("corpus", "source", "rows", "samples", "init_sha256", "ranks")


def describe_run(corpus: Corpus, config: RunConfig, samples: Samples, hardware: Hardware, init: str | Path | None) -> dict[str, Any]:
    """Return ``run.json``: what a continued run must agree with, and what a reader wants to know."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "config": config.as_dict(),
        "config_sha256": config.sha256(),
        "corpus": corpus.manifest["identity"],
        "source": corpus.manifest["source"],
        "rows": corpus.n_rows,
        "samples": len(samples),
        "init": str(init) if init is not None else None,
        "init_sha256": read_config(find_model(init))["sha256"] if init is not None else None,
        "hardware": hardware.as_dict(),
        "ranks": world_size(),
        "versions": {"molbt": __version__, "torch": torch.__version__, "rdkit": corpus.manifest["rdkit"]},
    }


def read_record(path: Path) -> dict[str, Any]:
    """Return ``run.json``.

    Raises
    ------
    CheckpointError
        If it is not one, or of another version.
    """
    record = read_json(path, remedy="start the run again in a new directory")
    if (record.get("format"), record.get("format_version")) != (FORMAT, FORMAT_VERSION):
        raise CheckpointError(
            f"{path} is of format {record.get('format')} {record.get('format_version')}, this molbt ({__version__}) continues {FORMAT} "
            f"{FORMAT_VERSION}; start anew, or use the version of molbt that began it"
        )
    try:
        _Record.model_validate(record)
    except ValidationError as error:
        raise CheckpointError(f"{describe_problems(error, where=str(path))}; start the run again in a new directory") from error
    return record


class _Record(BaseModel):
    """What every ``run.json`` has; other keys may stand beside these."""

    config: dict[str, Any]
    corpus: str
    source: str
    rows: int
    samples: int
    init: str | None
    init_sha256: str | None
    hardware: Hardware
    ranks: int
    versions: dict[str, str]


def check_continuation(old: Mapping[str, Any], new: Mapping[str, Any], *, place: Path) -> Hardware:
    """Return what a run computes on when it goes on: precision and threads as before, device and machine as they are.

    Parameters
    ----------
    old : mapping
        As ``read_record`` returns it.
    new : mapping
        What ``describe_run`` says now.
    place : path
        The run's directory, for messages.

    Raises
    ------
    ConfigError
        If the configuration, the corpus, the weights it started from, the number of ranks or the kind of device is another one; the
        message holds each difference.
    """
    # As this version resolves it: a setting that is newer than the run has its default there.
    begun = RunConfig.from_dict(old["config"], source=str(place / "run.json")).as_dict()
    changed = differences(begun, new["config"])
    if any(old[key] != new[key] for key in _IDENTITY if key != "source"):  # the same table may lie in another place
        changed += [f"{key}: {old[key]} -> {new[key]}" for key in _IDENTITY if old[key] != new[key]]
    if changed:
        raise ConfigError(f"{place} was started with other settings: " + "; ".join(changed) + ". Resume with the same ones, or start anew")
    before, now = Hardware(**old["hardware"]), Hardware(**new["hardware"])
    if before.device.split(":")[0] != now.device.split(":")[0]:
        raise ConfigError(
            f"{place} was started on {before.device}, here it would run on {now.device}; resume it on the same kind of device, or start "
            "anew"
        )
    kept = {name: f"{getattr(before, name)}, here {getattr(now, name)}" for name in ("precision", "num_threads")}
    kept = {name: values for name, values in kept.items() if getattr(before, name) != getattr(now, name)}
    if kept:
        logger.info("%s goes on with its own %s", place, "; ".join(f"{name} ({values})" for name, values in kept.items()))
    moved = differences({"machine": before.machine, **old["versions"]}, {"machine": now.machine, **new["versions"]})
    if moved:
        logger.warning("%s goes on elsewhere than it began, so its last bits may differ: %s", place, "; ".join(moved))
    return Hardware(device=now.device, precision=before.precision, num_threads=before.num_threads, machine=now.machine)
