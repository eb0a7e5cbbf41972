"""FS-Mol: tasks of few-shot classification, one assay each, in the official layout or packed in one table.

Every row keeps its place. One that cannot be learned from or scored has no label and a reason; a SMILES that was rewritten is marked.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from molbt.data.json_lines import json_objects
from molbt.data.tables import read_table, require_column
from molbt.errors import ConfigError, DataError, suggestion

logger = logging.getLogger(__name__)

PARTS = ("train", "valid", "test")
POLICIES = ("published", "distinct")
"""What happens to repeated molecules: see ``with_policy``."""

_ENDING = ".jsonl.gz"
_TASK_LIST = "fsmol-0.1.json"
_PACKED = "fsmol_{part}.parquet"
# What the clean-up of FS-Mol made of phosphates and phosphonates, which RDKit has refused since it checks the valence of [PH], and the same
# groups as they are usually drawn: first the group inside or at the end of a SMILES, then one that begins it.
_PHOSPHORUS = ("[PH](=O)(=O)", "P(=O)(O)")
_LEADING_PHOSPHORUS = ("O=[PH](=O)", "O=P(O)")


@dataclass(frozen=True, eq=False)
class FSMolTask:
    """The rows of one assay, or of several in a packed table.

    Attributes
    ----------
    name : str
        ChEMBL id of the assay.
    frame : DataFrame
        One row per line of the file: ``smiles`` (repaired), ``label`` (float64: 1 active, 0 inactive, NaN where unusable), ``value``
        (float64: the measured value, mostly in nM; NaN where not given), ``repaired`` (bool) and ``reason`` (str, ``""`` for a usable row).
    """

    name: str
    frame: pd.DataFrame

    @property
    def y(self) -> np.ndarray:
        """Labels, float64 of shape (rows,); NaN where unusable."""
        return self.frame["label"].to_numpy(dtype=np.float64)

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of rows, of repaired ones, and of those that are left out by reason."""
        reasons = self.frame["reason"][self.frame["reason"] != ""].value_counts(sort=False)
        return {"rows": len(self.frame), "repaired": int(self.frame["repaired"].sum()), **{str(key): int(n) for key, n in reasons.items()}}


class FSMolData:
    """The tasks of a folder.

    Parameters
    ----------
    directory : path
        Holds ``train/``, ``valid/`` and ``test/`` with a file ``<task>.jsonl.gz`` per task, the official list ``fsmol-0.1.json`` if it is
        there, and perhaps parts packed as ``fsmol_<part>.parquet``.
    duplicates : {"published", "distinct"}
        See ``with_policy``.

    Raises
    ------
    DataError
        If the folder holds no task.
    ConfigError
        If the policy is unknown.

    References
    ----------
    Stanley et al., "FS-Mol: A Few-Shot Learning Dataset of Molecules", NeurIPS Datasets and Benchmarks 2021,
    https://openreview.net/forum?id=701FtuyLlAd
    """

    def __init__(self, directory: str | Path, *, duplicates: str = "published") -> None:
        self.directory = Path(directory)
        if duplicates not in POLICIES:
            raise ConfigError(f"unknown policy {duplicates!r} for repeated molecules of FS-Mol{suggestion(duplicates, POLICIES)}")
        self.duplicates = duplicates
        if not any(self.directory.glob(f"*/*{_ENDING}")) and not any(self.directory.glob(_PACKED.format(part="*"))):
            raise DataError(
                f"expected FS-Mol tasks ({'/, '.join(PARTS)}/ with *{_ENDING}) in {self.directory}, found none; get them with "
                "molbt data get fs-mol, or name the folder that holds fs-mol/ as data_dir (--data-dir)"
            )

    @cached_property
    def official(self) -> dict[str, tuple[str, ...]]:
        """The official tasks of each part, sorted; empty without the list."""
        path = self.directory / _TASK_LIST
        if not path.is_file():
            return {}
        try:
            lists = json.loads(path.read_text(encoding="utf-8"))
            return {part: tuple(sorted(lists[part])) for part in PARTS}
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"expected JSON lists of tasks called {', '.join(PARTS)} in {path}, got something else; get it again"
            ) from error

    def names(self, part: str) -> tuple[str, ...]:
        """Return the tasks of a part that have a file of their own, sorted; of the official ones only, where there is the list."""
        self._check(part)
        found = {path.name.removesuffix(_ENDING) for path in (self.directory / part).glob(f"*{_ENDING}")}
        return tuple(sorted(found & set(self.official[part]) if self.official else found))

    def missing(self, part: str) -> tuple[str, ...]:
        """Return the official tasks of a part that have no file here."""
        self._check(part)
        return tuple(sorted(set(self.official.get(part, ())) - set(self.names(part))))

    def read(self, part: str, name: str) -> FSMolTask:
        """Return one task.

        Raises
        ------
        ConfigError
            If there is no such task.
        DataError
            If its file is damaged.
        """
        names = self.names(part)
        if name not in names:
            raise ConfigError(f"unknown FS-Mol task {name!r} in {self.directory / part}{suggestion(name, names[:20])}")
        return with_policy(read_task(self.directory / part / f"{name}{_ENDING}"), self.duplicates)

    def tasks(self, part: str) -> Iterator[FSMolTask]:
        """Yield the tasks of a part in the order of their names."""
        for name in self.names(part):
            yield self.read(part, name)

    def rows(self, part: str) -> pd.DataFrame:
        """Return all rows of all tasks of a part: a column ``task``, and those of ``FSMolTask.frame``.

        From the packed file where there is one, which may hold more tasks than there are single files; otherwise from these. Rows are as
        published, whatever the policy for repeated molecules is.
        """
        self._check(part)
        packed = self.directory / _PACKED.format(part=part)
        if packed.is_file():
            return read_packed(packed)
        frames = [read_task(self.directory / part / f"{name}{_ENDING}").frame.assign(task=name) for name in self.names(part)]
        if not frames:
            raise DataError(f"expected {packed.name} or single tasks in {self.directory / part}, found neither; get the data again")
        table = pd.concat(frames, ignore_index=True)
        return table[["task", *(column for column in table.columns if column != "task")]]

    def usable_rows(self, part: str) -> pd.DataFrame:
        """Return ``smiles``, ``task`` and ``label`` of the rows of a part that have a label, numbered from 0 on."""
        rows = self.rows(part)
        return rows.loc[rows["reason"] == "", ["smiles", "task", "label"]].reset_index(drop=True)

    def _check(self, part: str) -> None:
        if part not in PARTS:
            raise ConfigError(f"unknown part {part!r} of FS-Mol{suggestion(part, PARTS)}")


def read_task(path: str | Path) -> FSMolTask:
    """Read a file in the official layout: a JSON object per line with ``SMILES`` and ``Property``, and perhaps more.

    The precomputed fields (``fingerprints``, ``descriptors``, ``graph``) are passed over: features are computed here, from the SMILES.

    Raises
    ------
    DataError
        If the file cannot be read, is cut or corrupt, or a line is no JSON object.
    """
    path = Path(path)
    columns = ["SMILES", "Property", "RegressionProperty"]
    records = [{name: record.get(name) for name in columns} for record in json_objects(path)]
    return FSMolTask(path.name.removesuffix(_ENDING), _as_rows(pd.DataFrame(records, columns=columns)))


def read_packed(path: str | Path) -> pd.DataFrame:
    """Read tasks packed in one table with ``SMILES``, ``Property``, ``Assay_ID`` and perhaps ``RegressionProperty``.

    Returns
    -------
    DataFrame
        A column ``task``, and those of ``FSMolTask.frame``.

    Raises
    ------
    DataError
        If the table or a column is not there.
    """
    table = read_table(path)
    for column in ("SMILES", "Property", "Assay_ID"):
        require_column(table.frame, column, str(path), "the file back to the published one")
    rows = _as_rows(table.frame.reset_index(drop=True))
    rows.insert(0, "task", table.frame["Assay_ID"].astype("str").to_numpy())
    return rows


def repair_smiles(smiles: str) -> str:
    """Return a SMILES of FS-Mol with phosphorus groups that RDKit reads.

    ``[PH](=O)(=O)`` becomes ``P(=O)(O)``, and a leading ``O=[PH](=O)`` becomes ``O=P(O)``: the acid that the clean-up of FS-Mol meant. Any
    other SMILES is returned as it is.

    >>> repair_smiles("CO[PH](=O)(=O)OC")
    'COP(=O)(O)OC'
    """
    if smiles.startswith(_LEADING_PHOSPHORUS[0]):
        smiles = smiles.replace(*_LEADING_PHOSPHORUS, 1)
    return smiles.replace(*_PHOSPHORUS)


def with_policy(task: FSMolTask, duplicates: str) -> FSMolTask:
    """Return a task with the policy for molecules that occur more than once applied.

    ``published`` keeps all rows, as the published results do: a repeated molecule can stand in the support and in the query set.
    ``distinct`` keeps the label of the first of the rows with the same SMILES where they agree, and of none where they do not; the others
    lose their label and say why.

    Parameters
    ----------
    task : FSMolTask
    duplicates : {"published", "distinct"}
    """
    if duplicates == "published":
        return task
    frame = task.frame.copy()
    usable = frame[frame["reason"] == ""]
    groups = usable.groupby("smiles", sort=False)["label"]
    conflicting = usable.index[groups.transform("nunique") > 1]
    repeated = usable.index[usable.duplicated("smiles")].difference(conflicting)
    for rows, reason in ((conflicting, "conflicting labels of one molecule"), (repeated, "repeat of an earlier row")):
        frame.loc[rows, ["label", "reason"]] = np.nan, reason
    return FSMolTask(task.name, frame)


def _as_rows(raw: pd.DataFrame) -> pd.DataFrame:
    smiles = [text if isinstance(text, str) else "" for text in raw["SMILES"]]
    repaired = [repair_smiles(text) for text in smiles]
    labels = _numbers(raw["Property"])
    given = _numbers(raw["RegressionProperty"]) if "RegressionProperty" in raw.columns else np.full(len(raw), np.nan)
    usable = np.isin(labels, (0.0, 1.0))
    blank = np.array([not text.strip() for text in smiles], dtype=bool)
    reasons = np.select([blank, ~usable], ["no SMILES", "label neither 0 nor 1"], "")
    return pd.DataFrame(
        {
            "smiles": repaired,
            "label": np.where(usable & ~blank, labels, np.nan),
            "value": np.where(given == -1.0, np.nan, given),  # FS-Mol's "not given"
            "repaired": [before != after for before, after in zip(smiles, repaired, strict=True)],
            "reason": reasons.astype(object),
        }
    )


def _numbers(column: Sequence[object] | pd.Series) -> np.ndarray:
    return pd.to_numeric(pd.Series(column), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
