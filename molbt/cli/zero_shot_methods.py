"""Zero-shot methods in ``evaluate``: which are run, what they learn from, and what is told of them afterwards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from molbt.evaluation.few_shot.training_labels import TrainingLabels
    from molbt.evaluation.zero_shot.kept_scores import KeptScores
    from molbt.predict.training_pairs import TrainingPairs

METHODS_HELP = "frequent_hitters, lightgbm_pairs, lightgbm_twin, lookup, retrieval or twin"  # written out: a test compares


@dataclass(frozen=True)
class ZeroShotOptions:
    """What the options ``--methods``, ``--texts`` and ``--max-pairs`` say; ``methods`` is None where they were not named."""

    methods: Sequence[str] | None = None
    texts: Path | None = None
    max_pairs: int | None = None


@dataclass(frozen=True)
class ZeroShotPart:
    """The zero-shot methods of an evaluation that learn from one set of training pairs.

    Parameters
    ----------
    scores : sequence of KeptScores
    suffix : str
        Behind the names of features: what sets apart the same methods on other training pairs.
    """

    scores: "Sequence[KeptScores]"
    suffix: str = ""

    def callables(self) -> "dict[tuple[str, str], KeptScores]":
        """Return them by features and head, as ``evaluate_few_shot`` takes them."""
        return {(kept.method.features + self.suffix, kept.method.name): kept for kept in self.scores}

    def identities(self) -> dict[str, str]:
        return {kept.method.features + self.suffix: kept.identity for kept in self.scores}

    def compare(self, results: "pd.DataFrame", group_of: Mapping[str, str] | None) -> "pd.DataFrame":
        """Return ``compare_methods`` of these methods, the lookup and published ones."""
        from molbt.evaluation.zero_shot.comparison import compare_methods

        own = {features: features.removesuffix(self.suffix) for features, _ in self.callables()}
        heads = {kept.method.name for kept in self.scores}
        others = ~results["head"].isin(heads)
        chosen = results[results["features"].isin(own) | others]
        return compare_methods(chosen.assign(features=chosen["features"].replace(own)), group_of)

    def coverage(self, assays: "Mapping[str, tuple[Sequence[str], np.ndarray]]") -> "pd.DataFrame | None":
        """Return ``held_out_coverage`` of each method, with its name as ``head``; None where the assays are too few."""
        import numpy as np
        import pandas as pd

        from molbt.evaluation.zero_shot.coverage import FOLDS, held_out_coverage

        tables = []
        for kept in self.scores:
            usable = {name: own for name, own in assays.items() if name in kept.texts and {0.0, 1.0} <= set(np.unique(own[1]).tolist())}
            if len(usable) >= FOLDS:
                tables.append(held_out_coverage(kept, usable).assign(head=kept.method.name + self.suffix))
        return pd.concat(tables, ignore_index=True) if tables else None


def zero_shot_part(
    options: ZeroShotOptions,
    pairs: "TrainingPairs",
    texts: Mapping[str, str],
    *,
    model: Path | None,
    output: Path,
    suffix: str = "",
    without: Sequence[str] = (),
    random_state: int = 0,
    jobs: int = 1,
) -> ZeroShotPart:
    """Return the methods that were named, or those that can be run: all without a run, and with a run that pairs texts the rest too."""
    from molbt import registry
    from molbt.errors import ConfigError
    from molbt.evaluation.zero_shot.kept_scores import KeptScores
    from molbt.evaluation.zero_shot.training import Training
    from molbt.predict.training_pairs import MAX_PAIRS

    training = Training(pairs, run=model, max_pairs=options.max_pairs or MAX_PAIRS, random_state=random_state, n_jobs=jobs)
    names = options.methods if options.methods is not None else registry.available("zero_shot_methods")
    methods: list[Any] = [registry.find("zero_shot_methods", name) for name in dict.fromkeys(names) if name not in without]
    if any(method.needs_run for method in methods):
        try:
            _ = training.twin
        except ConfigError:
            if options.methods is not None:
                raise
            methods = [method for method in methods if not method.needs_run]
    return ZeroShotPart([KeptScores(method, training, texts, output / "scores") for method in methods], suffix)


def zero_shot_told(
    parts: Sequence[ZeroShotPart],
    results: "pd.DataFrame",
    assays: "Mapping[str, tuple[Sequence[str], np.ndarray]]",
    output: Path,
    *,
    group_of: Mapping[str, str] | None = None,
) -> tuple[list[str], list[str]]:
    """Write ``zero_shot.csv`` and ``zero_shot_coverage.csv``; return what is printed, and the sections of the page.

    Parameters
    ----------
    results : DataFrame
        Of the table without support sets, with published methods.
    assays : mapping of str to (SMILES, labels)
        The evaluated ones.
    """
    import pandas as pd

    from molbt.data.tables import write_table
    from molbt.report.zero_shot_section import (
        NOTE,
        TITLE,
        comparison_section,
        comparison_text,
        coverage_section,
        coverage_text,
    )

    compared = {part.suffix: part.compare(results, group_of) for part in parts}
    write_table(pd.concat([table.assign(learned_from=suffix.strip(", ")) for suffix, table in compared.items()]), output / "zero_shot.csv")
    lines: list[str] = []
    sections: list[str] = []
    for suffix, table in compared.items():
        lines += [comparison_text(table, TITLE + suffix), f"* {NOTE}\n"]
        sections += comparison_section(table, TITLE + suffix)
    covered = [found for part in parts if (found := part.coverage(assays)) is not None]
    if covered:
        coverage = pd.concat(covered, ignore_index=True)
        write_table(coverage, output / "zero_shot_coverage.csv")
        lines.append(coverage_text(coverage) + "\n")
        sections += coverage_section(coverage)
    return lines, sections


def fs_mol_parts(
    options: ZeroShotOptions, directory: Path, rows: "pd.DataFrame", sets: "Mapping[str, TrainingLabels]", **settings: Any
) -> list[ZeroShotPart]:
    """Return the methods for each set of training labels of FS-Mol; none where there are no texts and nothing was asked for.

    Parameters
    ----------
    directory : Path
        Of FS-Mol; ``task_text.jsonl.gz`` in it has the texts where ``--texts`` names no others.
    rows : DataFrame
        The usable rows of the training part, numbered as ``TrainingLabels.rows`` are.
    """
    from molbt.data.assay_texts import assay_texts
    from molbt.predict.training_pairs import TrainingPairs

    path = options.texts or directory / "task_text.jsonl.gz"
    if options.methods is None and options.texts is None and not path.is_file():
        return []
    texts = assay_texts(path)
    return [
        zero_shot_part(
            options,
            TrainingPairs.of(rows.loc[known.rows.index], texts),
            texts,
            suffix="" if len(sets) == 1 else f", {name}",
            without=("lookup",),  # of all training labels; it stands in the table anyhow
            **settings,
        )
        for name, known in sets.items()
    ]
