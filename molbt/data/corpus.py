"""Preparing a corpus: read a table once, number its unique values, turn them into columns."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import rdkit

from molbt import __version__
from molbt.config import RunConfig, ViewConfig, differences
from molbt.data.exclusions import Exclusion, as_exclusions, occurring
from molbt.data.executors import ShardExecutor
from molbt.data.files import atomic_write, cache_directory, exclusive_lock, new_directory, sha256_of, write_array, writing
from molbt.data.opened_source import OpenedSource, Source, open_source
from molbt.data.quarantine import covers, read_quarantine, write_quarantine
from molbt.data.rows import file_name, write_rows
from molbt.data.samples import Samples
from molbt.data.shards import IdentityPlaces, Progress, prepare_values
from molbt.data.stored_corpus import FORMAT, FORMAT_VERSION, Corpus, is_corpus, labels_of
from molbt.errors import DataError

__all__ = ["Corpus", "Progress", "Samples", "Source", "cache_directory", "is_corpus", "prepare", "read_quarantine"]

_LOCK = "corpus.lock"


def prepare(
    source: Source,
    config: RunConfig,
    *,
    directory: str | Path | None = None,
    format: str | None = None,
    exclude: Sequence[str | Path | Exclusion] = (),
    n_jobs: int = 1,
    progress: Progress | None = None,
    executor: ShardExecutor | None = None,
) -> Corpus:
    """Read a table, turn every unique value into columns, and return the corpus.

    Parameters
    ----------
    source : path, "-", DataFrame, Series or sequence of SMILES
        ``-`` reads standard input. A sequence is a table with the one column that the configuration names.
    config : RunConfig
        Its views and labels name the columns to read; its modalities decide what is prepared.
    directory : path, optional
        Where the corpus is kept; by default below ``cache_directory()``, named by content.
    format : str, optional
        The table's format where the name does not tell it; standard input is ``smi`` unless this says otherwise.
    exclude : sequence of paths or Exclusion
        Tables (``path`` or ``path:column``) or ready lists of molecules. Molecules that occur there too (same connectivity after removing
        salts, charges and stereochemistry) keep their row but are not trained on.
    n_jobs : int
        Worker processes (-1: all cores). The result does not depend on it.
    progress : callable, optional
        Called as ``progress(label, done, total)``.
    executor : ShardExecutor, optional
        Where molecules are hashed and turned into columns (`molbt.data.executors`); by default here. The result does not depend on it.

    Returns
    -------
    Corpus
        What was there already is reused. A second process that prepares the same directory waits for the first.

    Raises
    ------
    DataError
        If a column is missing, the source cannot be read, the directory holds the corpus of another source, or it cannot be written.
    """
    report = progress or (lambda label, done, total: None)
    excluded = as_exclusions(exclude)
    columns = sorted({view.column for view in config.views.values()})
    with open_source(source, columns, config.labels, format) as opened:
        identity = _identity(opened, config, columns, excluded)
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        directory = Path(directory) if directory is not None else cache_directory() / "corpora" / digest[:20]
        if is_corpus(directory) and _open_same(directory, identity, opened.name).is_prepared_for(config):
            return Corpus.open(directory)
        opened.check_columns(columns, config.labels)
        _refuse_foreign_content(directory)
        with _writing(directory):
            directory.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(directory / _LOCK), _writing(directory):
            if not is_corpus(directory):
                _write_rows(opened, config, columns, directory, identity=identity, digest=digest, excluded=excluded, report=report)
            corpus = _open_same(directory, identity, opened.name)
            _prepare_for(corpus, config, excluded, n_jobs, report, executor)
    return corpus


def _identity(source: OpenedSource, config: RunConfig, columns: Sequence[str], excluded: Sequence[Exclusion]) -> dict[str, Any]:
    """Return everything that decides the rows of a corpus."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "source_sha256": source.sha256,
        "source_format": source.format,
        "columns": list(columns),
        "labels": labels_of(config),
        "policy": config.molecules.policy().as_dict(),
        "exclude_sha256": sorted(exclusion.sha256 for exclusion in excluded),
        "rdkit": rdkit.__version__,
    }


def _open_same(directory: Path, identity: Mapping[str, Any], source: str) -> Corpus:
    """Open a corpus, and refuse one that was made from something else."""
    corpus = Corpus.open(directory)
    changed = differences({key: corpus.manifest.get(key) for key in identity}, identity)
    if changed:
        raise DataError(
            f"{directory} holds the corpus of {corpus.manifest.get('source')}, which differs from that of {source} now asked for "
            f"({'; '.join(changed)}); choose another directory or remove this one"
        )
    return corpus


def _refuse_foreign_content(directory: Path) -> None:
    if directory.exists() and not directory.is_dir():
        raise DataError(f"expected a directory for the corpus, {directory} is a file; choose another")
    if directory.is_dir() and not is_corpus(directory) and not (directory / _LOCK).exists() and any(directory.iterdir()):
        raise DataError(f"{directory} is not empty and holds no corpus; choose a new directory")


def _writing(directory: Path) -> AbstractContextManager[None]:
    return writing(
        directory, remedy="free space or correct the permissions, then run the same command again: what is whole is not done twice"
    )


def _write_rows(
    source: OpenedSource,
    config: RunConfig,
    columns: Sequence[str],
    directory: Path,
    *,
    identity: Mapping[str, Any],
    digest: str,
    excluded: Sequence[Exclusion],
    report: Progress,
) -> None:
    """Read the source and write its rows and the manifest; each is whole or not there, and without the manifest there is no corpus."""
    final = directory / "rows"
    for leftover in (*directory.glob("rows.tmp*"), final):
        shutil.rmtree(leftover, ignore_errors=True)
    with new_directory(final) as temporary:
        rows = write_rows(source, columns, config.labels, temporary, report)
    manifest = {
        **identity,
        "identity": digest,
        "source": source.name,
        "excluded": [exclusion.name for exclusion in excluded],
        "rows": rows.n_rows,
        "refused_by_reader": len(rows.refused),
        "unique": rows.n_unique,
        "tasks": {name: list(rows.tasks[name]) if label.task else [name] for name, label in config.labels.items()},
        "values_sha256": {column: sha256_of(final / file_name("values", column, "parquet")) for column in columns},
        "molbt": __version__,
    }
    with atomic_write(directory / "manifest.json") as file:
        file.write(json.dumps(manifest, indent=1).encode())


def _prepare_for(
    corpus: Corpus, config: RunConfig, excluded: Sequence[Exclusion], n_jobs: int, report: Progress, executor: ShardExecutor | None
) -> None:
    """Add what a configuration needs and the corpus lacks."""
    policy = config.molecules.policy()
    for column in corpus.manifest["columns"]:
        views = {corpus.directory / "prepared" / corpus.preparation_key(view): view for view in _views_of(column, config)}
        molecular = {place: view for place, view in views.items() if view.build_modality().is_molecular}
        hashes = corpus.identities_path(column)
        identities = IdentityPlaces(hashes, corpus.fatal_path(column)) if molecular and not hashes.exists() else None
        # What is made of molecules is made in one pass, the rest view by view.
        for group, hashed in [(molecular, identities), *(({place: view}, None) for place, view in views.items() if place not in molecular)]:
            missing = {place: view for place, view in group.items() if not place.exists()}
            if missing or hashed:
                options: dict[str, Any] = {"n_jobs": n_jobs, "progress": report, "refused": corpus.fatal(column), "executor": executor}
                prepare_values(missing, hashed, corpus.texts(column), policy, **options)
        path = corpus.directory / "excluded" / file_name("values", column, "npy")
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            known = corpus.identities(column)
            if known is None:
                known = np.zeros((corpus.manifest["unique"][column], 2), dtype=np.uint64)
            write_array(path, occurring(known[:, 0], excluded, policy, n_jobs=n_jobs, progress=report))
    if not covers(corpus, config):
        write_quarantine(corpus, config)


def _views_of(column: str, config: RunConfig) -> list[ViewConfig]:
    return [view for view in config.views.values() if view.column == column]
