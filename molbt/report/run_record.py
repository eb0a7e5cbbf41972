"""What a run's directory tells a reader: metrics, spectra, configuration and facts. Reads text only; loads neither torch nor the model."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from molbt.data.json_files import read_json
from molbt.errors import DataError

Spectra = list[tuple[int, dict[str, list[float]]]]
"""Per epoch: the step, and singular values (descending) by ``embedding.<view>`` and ``projection.<view>``."""


@dataclass(frozen=True, eq=False)
class RunRecord:
    """The readable part of a run.

    Attributes
    ----------
    metrics : DataFrame
        One row per epoch, as in ``metrics.csv``; empty where the run has not finished an epoch.
    spectra : list of (step, {name: singular values})
    config : str
        The text of ``config.yaml``; "" where there is none.
    facts : dict of str to str
        What ``run.json`` and the model's ``config.json`` say besides the configuration: samples, source, hardware, versions.
        Nested names are joined with a dot.
    """

    metrics: pd.DataFrame
    spectra: Spectra
    config: str
    facts: dict[str, str]


def read_run(directory: str | Path) -> RunRecord:
    """Read the directory of a run, or of a model on its own, which tells less. Files that are not there yet are left out.

    Raises
    ------
    DataError
        If the directory is neither, or a file in it cannot be read.
    """
    path = Path(directory)
    if not (path / "run.json").is_file() and (path / "config.json").is_file():
        content = _json(path / "config.json")
        config_text = yaml.safe_dump(content.get("run_config", {}), sort_keys=False, allow_unicode=True)
        told = {"molbt": content.get("molbt_version"), "weights_sha256": content.get("sha256"), **content.get("facts", {})}
        return RunRecord(pd.DataFrame(), [], config_text, _flat(told))
    if not (path / "run.json").is_file():
        raise DataError(f"expected the directory of a run with run.json in it, got {path}; pass that given to pretrain, or a model")
    facts = _flat({key: value for key, value in _json(path / "run.json").items() if key not in ("config", "format", "format_version")})
    if (path / "model" / "config.json").is_file():
        model_facts = _flat(_json(path / "model" / "config.json").get("facts", {}))
        facts |= {key: value for key, value in model_facts.items() if value not in facts.values()}
    return RunRecord(_metrics(path / "metrics.csv"), _spectra(path / "spectra.jsonl"), _text(path / "config.yaml"), facts)


def _json(path: Path) -> dict[str, Any]:
    return read_json(path, remedy="make the report without the run, or restore the file", error=DataError)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8") if path.is_file() else ""
    except (ValueError, OSError) as error:
        raise DataError(f"cannot read {path}: {error}; make the report without the run, or restore the file") from error


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        elif value is not None:
            flat[f"{prefix}{key}"] = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return flat


def _metrics(path: Path) -> pd.DataFrame:
    if not path.is_file():
        return pd.DataFrame()
    try:
        table = pd.read_csv(path)
    except (ValueError, OSError) as error:
        raise DataError(f"cannot read {path}: {error}; make the report without the run, or restore the file") from error
    if "epoch" not in table.columns:
        raise DataError(
            f"expected a column 'epoch' in {path}, got {list(table.columns)}; make the report without the run, or restore the file"
        )
    return table


def _spectra(path: Path) -> Spectra:
    spectra: Spectra = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        try:
            content = json.loads(line)
            spectra.append((int(content.pop("step")), {name: [float(value) for value in values] for name, values in content.items()}))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(
                f"line {number} of {path} is not a spectrum ({error!r}); remove the line, or make the report without the run"
            ) from error
    return spectra
