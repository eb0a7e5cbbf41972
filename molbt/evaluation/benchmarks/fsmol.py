"""FS-Mol: few-shot classification on single assays, with the official tasks and draws."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from molbt.data.fs_mol import FSMolData, FSMolTask
from molbt.errors import ConfigError, DataError, suggestion
from molbt.evaluation.benchmarks.base import Benchmark, Task
from molbt.evaluation.few_shot.published import published_results
from molbt.evaluation.few_shot.sampling import N_DRAWS, SUPPORT_SIZES, draw_support

METRICS = ("delta_auprc", "delta_auprc_support", "average_precision", "roc_auc")
"""``delta_auprc`` is average precision − share of actives in the query set, as FS-Mol's paper and its evaluation code have it;
``delta_auprc_support`` subtracts the share of actives in the support set, as the code of its tables and figures does. Stratified draws make
the two nearly equal."""

_PARTS = ("valid", "test")


class FSMol(Benchmark):
    """One task per assay, support size and draw; ΔAUPRC on the query set, means and intervals over assays.

    Parameters
    ----------
    data_dir : path
        Folder that holds ``fs-mol/``.
    part : {"test", "valid"}
        Choices are made on ``valid``.
    support : sequence of int
        Sizes of the support set.
    draws : int
        Support sets per assay and size, with the seeds 0, 1, …
    duplicates : {"published", "distinct"}
        What happens to molecules that occur more than once in a task; see ``molbt.data.fs_mol.with_policy``.
    limit : int, optional
        Only the first so many assays, in the order of their names.
    assays : collection of str, optional
        Only these of the part's assays, such as those with a description.

    Raises
    ------
    DataError
        If the data are not there.
    ConfigError
        If a part, size or number cannot be used.

    References
    ----------
    Stanley et al., "FS-Mol: A Few-Shot Learning Dataset of Molecules", NeurIPS Datasets and Benchmarks 2021,
    https://openreview.net/forum?id=701FtuyLlAd
    """

    name: ClassVar[str] = "fsmol"

    def __init__(
        self,
        data_dir: str | Path,
        *,
        part: str = "test",
        support: Sequence[int] = SUPPORT_SIZES,
        draws: int = N_DRAWS,
        duplicates: str = "published",
        limit: int | None = None,
        assays: Collection[str] | None = None,
    ) -> None:
        if part not in _PARTS:
            raise ConfigError(f"unknown part {part!r} of {self.name}{suggestion(part, _PARTS)}")
        sizes = tuple(int(size) for size in support)
        if not sizes or len(set(sizes)) < len(sizes) or min(sizes) < 0 or 1 in sizes:
            raise ConfigError(
                f"expected one or more different sizes of the support set, 0 or from 2 on, got {list(support)}; such as 16,32,64,128"
            )
        if draws < 1 or (limit is not None and limit < 1):
            raise ConfigError(f"draws and limit must be at least 1, got {draws} and {limit}")
        self.data = FSMolData(Path(data_dir) / "fs-mol", duplicates=duplicates)
        self.part, self.support, self.draws = part, sizes, draws
        self.assays = tuple(name for name in self.data.names(part) if assays is None or name in assays)[:limit]
        if not self.assays:
            remedy = "get the data again" if assays is None else f"the {len(assays)} assays asked for are others"
            raise DataError(f"expected tasks of FS-Mol in {self.data.directory / part}, found none; {remedy}")

    def read(self, assay: str) -> FSMolTask:
        """Return the rows of one assay."""
        return self.data.read(self.part, assay)

    def tasks(self) -> Iterator[Task]:
        """Yield the draws of one assay after the other; those that cannot be made (too few rows or actives) are left out."""
        for assay in self.assays:
            read = self.read(assay)
            for size in self.support:
                for seed in range(self.draws if size else 1):
                    drawn = draw_support(read.y, size, seed)
                    if drawn is not None:
                        parts = {"train": drawn[0], "test": drawn[1]}
                        yield Task(assay, read.frame[["smiles"]], read.y, parts, "classification", f"support_{size}", seed)

    def metrics(self, task: Task) -> tuple[str, ...]:
        """Return those that the query set alone decides; ``evaluate_few_shot`` gives all of ``METRICS``."""
        return tuple(metric for metric in METRICS if metric != "delta_auprc_support")

    def table_name(self, size: int) -> str:
        """Return what results with a support set of this size are called: each size is a table of its own."""
        return f"{self.name}_{size}"

    def published(self) -> pd.DataFrame:
        """Return published results on these assays, at the sizes of this benchmark; see ``few_shot.published``."""
        return published_results(self.data.directory, self.assays, {size: self.table_name(size) for size in self.support})

    def enzyme_classes(self) -> dict[str, str]:
        """Return the enzyme class of each assay's target, as FS-Mol aggregates its tables; ``unknown`` where it names none."""
        path = self.data.directory / "targets" / f"{self.part}_proteins.csv"
        if not path.is_file():
            return dict.fromkeys(self.assays, "unknown")
        named = pd.read_csv(path, dtype="str").drop_duplicates("chembl_id").set_index("chembl_id")
        classes = (named["EC_super_class"] + " " + named["EC_super_class_name"]).fillna("unknown").to_dict()
        return {assay: classes.get(assay, "unknown") for assay in self.assays}

    def notes(self) -> list[str]:
        """Return how many of the official tasks are here, and what happened to rows."""
        missing = len(self.data.missing(self.part))
        counts = pd.DataFrame([self.read(assay).counts for assay in self.assays]).fillna(0).sum().astype(int)
        left_out = "; ".join(f"{n} without a label here ({reason})" for reason, n in counts.drop(["rows", "repaired"]).items())
        return [
            f"FS-Mol, {self.part} tasks: {len(self.assays)} of {len(self.data.official.get(self.part, self.assays))} official ones"
            + (f", {missing} have no file here" if missing else "")
            + f"; {counts['rows']:,} rows, in {counts['repaired']} of them a phosphorus group was rewritten so that RDKit reads it"
            + (f"; {left_out}." if left_out else "; no row was left out."),
            f"Repeated molecules: {self.data.duplicates}. Stratified support sets, seeds 0 to {self.draws - 1}; the query set is the rest.",
        ]

    def settings(self) -> dict[str, Any]:
        return {"part": self.part, "duplicates": self.data.duplicates}
