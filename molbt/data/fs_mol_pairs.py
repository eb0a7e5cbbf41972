"""The labelled rows of FS-Mol's assays as one table of molecules and descriptions: what to pretrain on."""

import pandas as pd

from molbt.data.assay_texts import assay_texts
from molbt.data.fs_mol import FSMolData

TEXT_FILE = "task_text.jsonl.gz"
"""A description of each assay, written by a template from what is known about its target."""


def labelled_pairs(data: FSMolData, part: str) -> pd.DataFrame:
    """Return the usable rows of a part as a table to pretrain on.

    Parameters
    ----------
    data : FSMolData
    part : {"train", "valid", "test"}

    Returns
    -------
    DataFrame
        ``smiles`` (repaired), ``task``, ``label`` (float64, 0 or 1) and ``text`` (the description of the task, None where it has none): one
        row per labelled row, repeats included.

    Raises
    ------
    DataError
        If the rows or the descriptions are not there, or damaged.
    """
    rows = data.rows(part)
    rows = rows.loc[rows["reason"] == "", ["smiles", "task", "label"]].reset_index(drop=True)
    texts = assay_texts(data.directory / TEXT_FILE)
    return rows.assign(text=pd.Series([texts.get(task) for task in rows["task"]], dtype=object))
