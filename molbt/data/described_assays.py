"""Assays with descriptions, their molecules and labels, as three files: what zero-shot evaluations are made of."""

from collections.abc import Collection
from functools import cached_property
from pathlib import Path

import pandas as pd

from molbt.data.assay_texts import assay_texts
from molbt.data.json_lines import read_json_lines
from molbt.data.tables import read_table, require_column
from molbt.errors import DataError


class DescribedAssays:
    """The tables of a folder.

    Parameters
    ----------
    directory : path
        Holds ``assays.jsonl.gz`` (``assay_id``, ``source``, ``split``, ``text``), ``molecules.parquet`` (``mol_id``, ``smiles``,
        ``scaffold_fold``: 0 to 9, −1 where RDKit does not read the molecule) and ``activities.parquet`` (``assay_id``, ``mol_id``,
        ``label``).

    Raises
    ------
    DataError
        If one of them is not there.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        for name in ("assays.jsonl.gz", "molecules.parquet", "activities.parquet"):
            if not (self.directory / name).is_file():
                raise DataError(
                    f"expected described assays (assays.jsonl.gz, molecules.parquet, activities.parquet) in {self.directory}, found no "
                    f"{name}; name the folder that holds zero-shot/ as data_dir (--data-dir)"
                )

    @cached_property
    def texts(self) -> dict[str, str]:
        """The description of each assay."""
        return assay_texts(self.directory / "assays.jsonl.gz")

    @cached_property
    def assays(self) -> pd.DataFrame:
        """``assay_id``, ``source`` and ``split`` of all assays."""
        frame = read_json_lines(self.directory / "assays.jsonl.gz")
        for column in ("assay_id", "source", "split"):
            require_column(frame.columns, column, "assays.jsonl.gz", "the file back to the published one")
        return frame[["assay_id", "source", "split"]]

    def rows(self, source: str, split: str, folds: Collection[int]) -> pd.DataFrame:
        """Return the measured rows of the assays of a source and split on molecules of some scaffold folds.

        Returns
        -------
        DataFrame
            ``task``, ``smiles`` and ``label`` (float64), in the order of the file.
        """
        chosen = self.assays[(self.assays["source"] == source) & (self.assays["split"] == split)]
        rows = self._activities[self._activities["assay_id"].isin(chosen["assay_id"])]
        molecules = self._molecules[self._molecules["scaffold_fold"].isin(folds)].set_index("mol_id")["smiles"]
        rows = rows[rows["mol_id"].isin(molecules.index)]
        return pd.DataFrame(
            {
                "task": rows["assay_id"].to_numpy(dtype=object),
                "smiles": molecules.reindex(rows["mol_id"]).to_numpy(dtype=object),
                "label": rows["label"].to_numpy(dtype="float64"),
            }
        )

    @cached_property
    def _activities(self) -> pd.DataFrame:
        return read_table(self.directory / "activities.parquet").frame

    @cached_property
    def _molecules(self) -> pd.DataFrame:
        return read_table(self.directory / "molecules.parquet").frame
