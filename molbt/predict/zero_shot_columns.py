"""What ``predict --text`` and ``--texts`` add to the rows of a table: see ``molbt.predict.added_columns``."""

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import pandas as pd
import rdkit

from molbt import __version__
from molbt.data.files import sha256_of
from molbt.data.rows import text_of
from molbt.data.sharded_tables import REASON
from molbt.data.tables import read_table, require_column
from molbt.errors import CheckpointError, ConfigError
from molbt.predict.saved_zero_shot import FILE, is_zero_shot, load_zero_shot
from molbt.predict.zero_shot import ZeroShotPredictor

# A worker may have several threads; a model takes one at a time.
_ONE_AT_A_TIME = threading.Lock()
_IDENTIFIERS = ("id", "assay_id", "name")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ZeroShotColumns:
    """The predictions of molecules for one text, with sets and p-values, or one column of probabilities for each of several.

    Parameters
    ----------
    predictor : str
        A directory of ``molbt calibrate``, at the same path on every machine.
    texts : tuple of str
    names : tuple of str
        For several texts, what the columns ``prediction_<name>`` are called; empty for one text.
    confidence : float
        Of the sets.
    nearest : bool, optional
        Whether to add the nearest known molecule, and for one text the nearest known assay; by default, where they were kept.
    """

    predictor: str
    texts: tuple[str, ...]
    names: tuple[str, ...] = ()
    confidence: float = 0.9
    nearest: bool | None = None
    n_jobs: int = 1
    device: str = "auto"
    sha256: str = ""

    @classmethod
    def of(cls, predictor: Path, **parameters: Any) -> Self:
        """Return the columns of a predictor as it is now.

        Raises
        ------
        ConfigError
            If the predictor was not made by ``molbt calibrate``, or a text is blank.
        CheckpointError
            If it is damaged.
        """
        if not is_zero_shot(predictor):
            raise ConfigError(
                f"expected a predictor of molbt calibrate for texts, {predictor} is none; leave the texts out for one of molbt fit"
            )
        columns = cls(str(predictor.absolute()), **parameters, sha256=sha256_of(predictor / FILE))
        _, reasons = _loaded(columns).featurizer.embed_texts(columns.texts)
        for text, reason in zip(columns.texts, reasons, strict=True):
            if reason:
                raise ConfigError(f"expected a description of an assay, received {text[:60]!r} ({reason}); give a sentence or two")
        if columns.nearest:
            _loaded(columns).nearest_molecules(["C"])
        return columns

    def settings(self) -> Mapping[str, Any]:
        own = {
            "texts": list(self.texts),
            "names": list(self.names),
            "confidence": self.confidence,
            "nearest": self.nearest,
            "device": self.device,
        }
        return {"columns": "zero_shot", "predictor_sha256": self.sha256, **own, "molbt": __version__, "rdkit": rdkit.__version__}

    def __call__(self, values: Sequence[Any]) -> pd.DataFrame:
        with _ONE_AT_A_TIME:
            loaded = _loaded(self)
            if self.names:
                added = pd.DataFrame(loaded.score(values, self.texts), columns=[f"prediction_{name}" for name in self.names])
                if self.nearest or (self.nearest is None and loaded.applicability is not None):
                    added = pd.concat([added, loaded.nearest_molecules(values)], axis=1)
            else:
                added = loaded.predict_table(values, self.texts[0], confidence=self.confidence, nearest=self.nearest)
            reasons = loaded.featurizer.molecules_.reasons_
        return added.assign(**{REASON: pd.Series(reasons, dtype="str")})

    def told(self) -> list[str]:
        """Return, in words, which known assays are nearest to the texts (the first five), and how well they are ranked."""
        loaded = _loaded(self)
        nearest = loaded.nearest_assay(self.texts[:5])
        lines = [
            f"{text[:60]!r}: nearest known assay {assay[:60]!r}, cosine {cosine:.2f}"
            for text, assay, cosine in zip(self.texts, nearest["nearest_assay"], nearest["nearest_assay_cosine"], strict=False)
        ]
        return [*lines, loaded.ranking.line()]


def texts_of_table(path: Path, column: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the texts of a table and a name for each: its id where the table has a column ``id``, ``assay_id`` or ``name``, or its row.

    A row that the reader refused (a blank line, a cell too many) or without a text has no column of predictions; the log names it.

    Raises
    ------
    DataError
        If the table or its column is not there.
    ConfigError
        If it has no rows with a text, or two of these have one id.
    """
    read = read_table(path)
    require_column(read.frame.columns, column, read.source, "--text-column")
    identifier = next((name for name in _IDENTIFIERS if name in read.frame.columns), None)
    texts = [text_of(value) for value in read.frame[column]]
    reasons = {row: read.problems.get(row, "blank") for row, text in enumerate(texts) if row in read.problems or not text.strip()}
    if reasons:
        first = ", ".join(f"row {row} ({reason})" for row, reason in list(reasons.items())[:5])
        logger.warning("%s: %d of %d rows have no text in column %r and get no column: %s", path, len(reasons), len(texts), column, first)
    asked = [row for row in range(len(texts)) if row not in reasons]
    names = tuple(text_of(read.frame[identifier][row]) if identifier else str(row) for row in asked)
    if not names or len(set(names)) < len(names):
        raise ConfigError(
            f"expected one or more texts with different {identifier or 'rows'} in column {column!r} of {path}, received {len(names)}; ids "
            "name columns"
        )
    return tuple(texts[row] for row in asked), names


@lru_cache(maxsize=1)
def _loaded(columns: ZeroShotColumns) -> ZeroShotPredictor:
    """The predictor of a process, read once."""
    found = sha256_of(Path(columns.predictor) / FILE)
    if columns.sha256 and found != columns.sha256:
        raise CheckpointError(
            f"the predictor at {columns.predictor} is another one here (SHA-256 {found[:12]}) than where the command was given "
            f"({columns.sha256[:12]}); copy it here"
        )
    return load_zero_shot(columns.predictor, n_jobs=columns.n_jobs, device=columns.device)
