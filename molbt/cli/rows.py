"""What commands that write a table row by row have in common."""

import logging
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from molbt.data.tables import Table
    from molbt.predict.predictor import Predictor

logger = logging.getLogger(__name__)


def refuse_own_input(table: Path, output: Path) -> None:
    """Raise ConfigError when the output would replace the input: the text of rows that the reader refused is nowhere else."""
    from molbt.errors import ConfigError

    if output.exists() and table.exists() and output.samefile(table):
        raise ConfigError(f"expected another file for the output, {output} is the input itself; choose another name")


def warn_if_all_refused(rows: int, refused: int, first_reason: str) -> None:
    """Warn when no row could be used: a wrong column or format looks like that."""
    if rows and refused == rows:
        logger.warning("every row was refused, the first because: %s; is --smiles-column or --format the right one?", first_reason)


def reasons_of_refusal(predictor: "Predictor", read: "Table", smiles: Sequence[object], refused: "np.ndarray") -> list[str]:
    """Why each refused row was refused, and "" for the others."""
    from molbt.data.isolation import map_blocks
    from molbt.data.molecules import refusal_reasons
    from molbt.data.rows import text_of

    reasons = [""] * len(smiles)
    rows = refused.nonzero()[0].tolist()
    found = chain.from_iterable(map_blocks(refusal_reasons, [text_of(smiles[row]) for row in rows], predictor.policy))
    for row, reason in zip(rows, found, strict=True):
        reasons[row] = read.problems.get(row) or reason or "its features cannot be computed"
    return reasons
