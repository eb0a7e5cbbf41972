"""Pairs of different molecules of one assay: two actives, or an active and an inactive."""

from pathlib import Path

import numpy as np
import pandas as pd

from molbt.data.tables import numeric_column, read_table, require_column
from molbt.draws import mix_words
from molbt.errors import DataError


def active_pairs(rows: pd.DataFrame, *, partners: int = 2, inactives: bool = False, random_state: int = 0) -> pd.DataFrame:
    """Return partners for the active molecules of each assay: what a twin of molecules learns assays from.

    In a random circle of an assay's actives each is paired with the next ones, so every active stands first and second equally often and
    no pair of an assay is there twice. Repeats of a molecule in an assay count once; one with both labels there takes no part.

    Parameters
    ----------
    rows : DataFrame
        ``smiles``, ``task`` and ``label`` (0 or 1), one row per measurement.
    partners : int
        Partners of each active; fewer where an assay has fewer actives.
    inactives : bool
        Also pair each active with as many inactives of its assay.
    random_state : int

    Returns
    -------
    DataFrame
        ``smiles``, ``partner``, ``task`` and ``label`` (float64): 1 for two actives, 0 for an active and an inactive. Assays keep the
        order in which they first appear.

    Raises
    ------
    DataError
        If a label is neither 0 nor 1, or no assay has two actives.
    """
    odd = rows.loc[~rows["label"].isin([0, 1]), "label"]
    if len(odd):
        raise DataError(f"expected labels 0 and 1, received {odd.iloc[0]} in row {odd.index[0]}; recode or remove such rows")
    distinct = rows.drop_duplicates(["task", "smiles", "label"])
    distinct = distinct[~distinct.duplicated(["task", "smiles"], keep=False)]
    parts = []
    for number, (task, of_task) in enumerate(distinct.groupby("task", sort=False)):
        draw = np.random.default_rng(mix_words(random_state, "active pairs", number))
        actives, others = (draw.permutation(of_task.loc[of_task["label"] == label, "smiles"].to_numpy()) for label in (1, 0))
        found = [(actives, np.roll(actives, -step), 1.0) for step in range(1, min(partners, len(actives) - 1) + 1)]
        if inactives and len(others):
            found += [(actives, np.resize(np.roll(others, -step), len(actives)), 0.0) for step in range(min(partners, len(others)))]
        parts += [pd.DataFrame({"smiles": a, "partner": b, "task": task, "label": label}) for a, b, label in found]
    if not any((part["label"] == 1).any() for part in parts):
        raise DataError(f"expected an assay with two actives, received {rows['task'].nunique():,} assays without; check the labels")
    return pd.concat(parts, ignore_index=True)


def measured_rows(path: str | Path, *, smiles: str = "smiles", task: str = "task", label: str = "label") -> pd.DataFrame:
    """Return the rows of a table that have a molecule, a task and a number, as ``smiles``, ``task`` and ``label``; the index is the row.

    Raises
    ------
    DataError
        If the table cannot be read, or lacks a column.
    """
    table = read_table(path)
    for column, option in ((smiles, "--smiles-column"), (task, "--task-column"), (label, "--label-column")):
        require_column(table.frame, column, table.source, option)
    rows = pd.DataFrame(
        {
            "smiles": table.frame[smiles].fillna("").astype(str),
            "task": table.frame[task].fillna("").astype(str),
            "label": numeric_column(table, label, option="--label-column"),
        }
    )
    rows = rows[(rows["smiles"] != "") & (rows["task"] != "") & np.isfinite(rows["label"])]
    return rows.drop(index=[row for row in table.problems if row in rows.index])
