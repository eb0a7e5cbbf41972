"""The main job on the molecules that come with RDKit: pretrain, featurize, predict, judge, draw."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from molbt.config import RunConfig
from molbt.data.corpus import Progress, prepare
from molbt.data.files import atomic_write
from molbt.data.sources import embedded_activities, embedded_molecules
from molbt.evaluation.benchmarks.table import TableBenchmark
from molbt.evaluation.controls import CONTROL, control_features
from molbt.evaluation.embedding_map import embedding_map
from molbt.evaluation.encoder_features import encoder_features
from molbt.evaluation.leakage import find_leakage
from molbt.evaluation.protocol import evaluate
from molbt.report.page import write_report
from molbt.training.trainer import pretrain

logger = logging.getLogger(__name__)

CHANGES = ("trainer.epochs=10",)
HEADS = ("tanimoto_svm", "lightgbm")
METRIC = "rmse"
LABEL_UNIT = "pIC50"


@dataclass(frozen=True)
class DemoResult:
    """What the demo made.

    Attributes
    ----------
    run, report : Path
    results : DataFrame
        The tidy table (``evaluation.benchmarks.base.RESULT_COLUMNS``).
    notes : list of str
    """

    run: Path
    report: Path
    results: pd.DataFrame
    notes: list[str]


def run_demo(
    directory: str | Path, *, n_jobs: int = 1, repeats: int = 3, changes: Sequence[str] = CHANGES, progress: Progress | None = None
) -> DemoResult:
    """Pretrain on the embedded molecules and judge the encoder on the embedded activity series.

    A demo that was stopped goes on where it was. Molecules of the series are excluded from pretraining.

    Parameters
    ----------
    directory : path
        Gets ``molecules.csv``, ``activities.csv``, ``corpus/``, ``run/``, ``results.csv`` and ``report.html``.
    n_jobs : int
        Worker processes.
    repeats : int
        Random splits of the activity series.
    changes : sequence of str
        ``key.subkey=value`` changes of the default configuration.
    progress : callable, optional
        As in ``pretrain``.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    molecules, activities = directory / "molecules.csv", directory / "activities.csv"
    for path, frame in ((molecules, embedded_molecules()), (activities, embedded_activities())):
        with atomic_write(path) as file:
            frame.to_csv(file, index=False)
    config = RunConfig.from_preset("default", changes=changes)
    corpus = prepare(molecules, config, directory=directory / "corpus", exclude=[activities], n_jobs=n_jobs, progress=progress)
    run = pretrain(corpus, directory / "run", config=config, resume=True, progress=progress)
    features = encoder_features(run.directory, directory, n_jobs=n_jobs)
    benchmark = TableBenchmark(activities, target="activity", split="random", repeats=repeats)
    results = evaluate(
        benchmark,
        control_features(features.learned, policy=features.policy, n_jobs=n_jobs),
        HEADS,
        n_jobs=n_jobs,
        results_path=directory / "results.csv",
        identities=features.identities,
        progress=logger.info,
    )
    notes = [
        f"{int(corpus.excluded('smiles').sum())} molecules of the activity series also occur among the pretraining molecules; "
        "they were not trained on.",
        *features.notes,
    ]
    leakage = find_leakage(benchmark, run.directory, n_jobs=n_jobs)
    leakage.save(directory / "leakage.csv")
    notes.append(leakage.sentence())
    report = write_report(
        directory / "report.html",
        title="molbt demo: an encoder pretrained on the molecules that come with RDKit",
        results=results,
        control=CONTROL,
        metric=METRIC,
        run_directory=run.directory,
        leakage=leakage,
        embedding_map=embedding_map(benchmark, features.learned, policy=features.policy),
        notes=notes,
        label_unit=LABEL_UNIT,
    )
    return DemoResult(run.directory, report, results, notes)
