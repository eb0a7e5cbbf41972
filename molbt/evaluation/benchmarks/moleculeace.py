"""MoleculeACE: potency on targets with activity cliffs, published splits."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from molbt.data.tables import numeric_column, read_table
from molbt.errors import ConfigError, DataError, suggestion
from molbt.evaluation.benchmarks.base import RESULT_COLUMNS, Benchmark, Task

LABEL = "y [pEC50/pKi]"
_COLUMNS = ("smiles", LABEL, "cliff_mol", "split")
_ENDING = ".csv.gz"


class MoleculeACE(Benchmark):
    """One regression task per ChEMBL target: pKi or pEC50 (−log10 of mol/L), RMSE on all test molecules and on those with an activity
    cliff.

    Parameters
    ----------
    data_dir : path
        Folder that holds ``moleculeace/``.
    targets : sequence of str, optional
        Names such as ``CHEMBL1862_Ki``; all by default.
    limit : int, optional
        Only the first so many targets, in the order of their names.

    Raises
    ------
    DataError
        If the folder or its files are missing.
    ConfigError
        If a target is not in the folder, or the limit is below 1.

    References
    ----------
    van Tilborg, Alenicheva and Grisoni, "Exposing the limitations of molecular machine learning with activity cliffs", J. Chem. Inf. Model.
    62 (2022) 5938–5951, https://doi.org/10.1021/acs.jcim.2c01073
    """

    name: ClassVar[str] = "moleculeace"
    label_unit = "pKi or pEC50"

    def __init__(self, data_dir: str | Path, *, targets: Sequence[str] | None = None, limit: int | None = None) -> None:
        self.directory = Path(data_dir) / "moleculeace"
        available = sorted(path.name.removesuffix(_ENDING) for path in self.directory.glob(f"CHEMBL*{_ENDING}"))
        if not available:
            raise DataError(
                f"expected the targets of MoleculeACE (CHEMBL*{_ENDING}) in {self.directory}, found none; "
                "give the folder that holds moleculeace/ as data_dir"
            )
        for target in targets or ():
            if target not in available:
                raise ConfigError(f"unknown target {target!r} in {self.directory}{suggestion(target, available)}")
        if limit is not None and limit < 1:
            raise ConfigError(f"limit must be at least 1, got {limit}")
        self.targets = [name for name in available if targets is None or name in targets][:limit]

    def tasks(self) -> Iterator[Task]:
        for target in self.targets:
            yield self._task(target)

    def metrics(self, task: Task) -> tuple[str, ...]:
        return ("rmse", "rmse_cliff")

    def published(self) -> pd.DataFrame:
        """Return the results of van Tilborg et al. 2022 on these targets.

        ``features`` reads "ECFP (published)", ``head`` is their algorithm. Numbers of rows are those of the files here. They are not
        always those of the paper: its list of targets counts about a tenth fewer cliff molecules than the column ``cliff_mol`` has, and
        five of the splits differ by a few rows. A published cliff RMSE is comparable to that extent.
        """
        table = pd.read_csv(self.directory / "published_results.csv")
        table = table.rename(columns={"dataset": "task", "algorithm": "head", "cliff_rmse": "rmse_cliff"})
        table["features"] = table["descriptor"] + " (published)"
        table = table.melt(["task", "features", "head"], ["rmse", "rmse_cliff"], var_name="metric")
        table = table.assign(benchmark=self.name, data_set=table["task"], split="published", repeat=0, fraction=1.0)
        sizes = [
            {"task": task.name, "metric": metric, "n_train": len(task.parts["train"]), "n_test": int(scored[task.parts["test"]].sum())}
            for task in self.tasks()
            for metric, scored in (("rmse", np.isfinite(task.y)), ("rmse_cliff", task.groups["cliff"]))
        ]
        # An inner join: the file also has what was not asked for.
        table = table.merge(pd.DataFrame(sizes), on=["task", "metric"])
        return table.sort_values(["task", "features", "head", "metric"], ignore_index=True)[list(RESULT_COLUMNS)]

    def settings(self) -> dict[str, Any]:
        return {"label": LABEL}

    def _task(self, target: str) -> Task:
        path = self.directory / f"{target}{_ENDING}"
        table = read_table(path)
        frame = table.frame
        missing = [column for column in _COLUMNS if column not in frame.columns]
        if missing or table.problems:
            raise DataError(
                f"expected {path} as published, got a file with the columns {missing} missing and {len(table.problems)} damaged rows; "
                "get the file again"
            )
        odd = sorted(set(frame["split"]) - {"train", "test"})
        if odd:
            raise DataError(f"expected 'train' or 'test' in the column 'split' of {path}, got {odd[:5]}; get the file again")
        return Task(
            name=target,
            frame=frame[["smiles"]],
            y=numeric_column(table, LABEL),
            parts={part: np.flatnonzero(frame["split"] == part) for part in ("train", "test")},
            groups={"cliff": numeric_column(table, "cliff_mol") == 1},
        )
