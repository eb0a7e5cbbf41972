"""What a run is made of, as its caller gave it: a configuration and a corpus."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from molbt.config import RunConfig
from molbt.data.corpus import Corpus, Progress, Source, is_corpus, prepare
from molbt.data.exclusions import Exclusion
from molbt.errors import ConfigError
from molbt.model.checkpoint import find_model, read_config


def default_config(begun: Mapping[str, Any] | None, init: str | Path | None) -> RunConfig:
    """Return the configuration of the run to continue, else that of the model to start from, else the default one."""
    if begun is not None:
        return RunConfig.from_dict(begun["config"], source="run.json")
    if init is not None:
        directory = find_model(init)
        return RunConfig.from_dict(read_config(directory)["run_config"], source=str(directory / "config.json"))
    return RunConfig.from_preset("default")


def as_corpus(
    molecules: Corpus | Source,
    config: RunConfig,
    format: str | None,
    exclude: Sequence[str | Path | Exclusion],
    n_jobs: int,
    progress: Progress | None,
) -> Corpus:
    """Return a corpus: as it is, opened, or prepared from a table (see ``molbt.data.corpus.prepare``).

    Raises
    ------
    ConfigError
        If molecules are to be excluded from a corpus, which has its own exclusions.
    """
    if isinstance(molecules, Corpus) or is_corpus(molecules):
        if exclude:
            raise ConfigError("a prepared corpus has its own exclusions, received others; prepare it again: molbt prepare --exclude")
        return molecules if isinstance(molecules, Corpus) else Corpus.open(molecules)  # type: ignore[arg-type]
    return prepare(molecules, config, format=format, exclude=exclude, n_jobs=n_jobs, progress=progress)
