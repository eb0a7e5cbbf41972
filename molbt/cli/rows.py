"""What commands that write a table row by row have in common."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from molbt.data.tables import Table
    from molbt.predict.predictor import Predictor

logger = logging.getLogger(__name__)


def refuse_own_input(table: Path, output: Path) -> None:
    """Raise ConfigError when the output would replace the input: the text of rows that the reader refused is nowhere else."""
    from molbt.errors import ConfigError

    if output.exists() and table.exists() and output.samefile(table):
        raise ConfigError(f"expected another file for the output, {output} is the input itself; choose another name")


def warn_if_all_refused(reasons: Sequence[str]) -> None:
    """Warn when no row could be used: a wrong column or format looks like that."""
    if reasons and all(reasons):
        logger.warning("every row was refused, the first because: %s; is --smiles-column or --format the right one?", reasons[0])


def beside(read: "pd.DataFrame", added: "pd.DataFrame") -> "pd.DataFrame":
    """Return the input's columns and the new ones; an input column with the name of a new one (from an earlier call) is replaced."""
    import pandas as pd

    replaced = [name for name in read.columns if name in set(added.columns)]
    if replaced:
        logger.warning("columns of the input that are written anew: %s", ", ".join(map(str, replaced[:5])))
    return pd.concat([read.drop(columns=replaced), added], axis=1)


def reasons_of_refusal(predictor: "Predictor", read: "Table", smiles: Sequence[object], refused: "np.ndarray") -> list[str]:
    """Why each refused row was refused, and "" for the others."""
    from molbt.data.molecules import parse_molecules

    reasons = [""] * len(smiles)
    rows = refused.nonzero()[0].tolist()
    for row, (_, reason) in zip(rows, parse_molecules([smiles[row] for row in rows], predictor.policy), strict=True):
        reasons[row] = read.problems.get(row) or reason or "its features cannot be computed"
    return reasons
