"""Few-shot evaluation: assays × features × heads × support sizes × draws, one tidy table, restartable.

Features and the Tanimoto kernel are computed once per assay; all draws of all sizes use them.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from molbt.data.fs_mol import FSMolTask
from molbt.data.shards import Progress
from molbt.errors import ConfigError, ShapeError
from molbt.evaluation.benchmarks.base import RESULT_COLUMNS
from molbt.evaluation.benchmarks.fsmol import METRICS, FSMol
from molbt.evaluation.few_shot.blended_logistic import ZERO_SHOT, BlendedLogistic
from molbt.evaluation.few_shot.methods import few_shot_head
from molbt.evaluation.few_shot.sampling import SPLIT, draw_support
from molbt.evaluation.few_shot.scoring import Draw, Values, fit_and_score, score_query
from molbt.evaluation.results_file import Cell, ResultsFile
from molbt.predict.features import FeatureSet
from molbt.predict.kernel_head import KernelHead
from molbt.predict.shared_kernel import share_kernel

Builder = Callable[[Sequence[str]], FeatureSet]
ZeroShot = Callable[[str, Sequence[str]], np.ndarray]
"""From the name of an assay and SMILES to one score each, NaN where there is none: a method that learns nothing from the support set."""

logger = logging.getLogger(__name__)


def evaluate_few_shot(
    benchmark: FSMol,
    feature_sets: Sequence[tuple[str, Builder]],
    heads: Sequence[str],
    *,
    zero_shot: Mapping[tuple[str, str], ZeroShot] | None = None,
    text_scores: ZeroShot | None = None,
    control: tuple[str, str] | None = None,
    random_state: int = 0,
    n_jobs: int = 1,
    progress: Progress | None = None,
    results_path: str | Path | None = None,
    identities: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Fit each head on each features of each support set, and score the query set.

    Parameters
    ----------
    benchmark : FSMol
    feature_sets : sequence of (name, builder)
        A builder turns SMILES into a ``FeatureSet``, row by row. Where the name has the part ``zero_shot``, such as
        ``counts+embedding+zero_shot``, ``text_scores`` are added to what the builder returns.
    heads : sequence of str
        Names in ``HEADS``, with the settings of ``few_shot.methods``. One that cannot use some features is left out there.
    zero_shot : mapping of (features, head) to callable, optional
        Methods without a support set, scored on the query sets of all sizes and, at size 0, on whole assays.
    text_scores : callable, optional
        The zero-shot method behind the part ``zero_shot``.
    control : (features, head), optional
        A head that is used on these features although ``heads`` does not name it, if they are among ``feature_sets``.
    random_state : int
        A head is fitted with this number + the seed of the draw.
    n_jobs : int
        Processes among which the draws of an assay are divided; the result does not depend on it.
    progress : callable, optional
        Called as ``progress(label, assays done, assays)``.
    results_path : path, optional
        As in ``molbt.evaluation.protocol.evaluate``: finished cells are written to it and read from it.
    identities : mapping of str to str, optional
        What the values of a part of the features, or of a zero-shot method, depend on.

    Returns
    -------
    DataFrame
        Columns ``RESULT_COLUMNS``, one row per draw and metric (``fsmol.METRICS``). ``benchmark`` is ``fsmol_<size>``, ``repeat`` the seed,
        ``n_test`` the number of scored query rows. A draw that the assay is too small for, or whose usable rows lack a class, is NaN.

    Raises
    ------
    ConfigError
        If a head is unknown, something is named twice, no head can use any of the features, the part ``zero_shot`` has no scores, or the
        file holds results of other settings.
    ShapeError
        If a builder loses or adds rows.
    """
    zero_shot, identities = dict(zero_shot or {}), dict(identities or {})
    if text_scores is None and any(_reads_text(name) for name, _ in feature_sets):
        raise ConfigError(f"the features {ZERO_SHOT!r} need scores of a model that pairs molecules with texts, got none; pass text_scores")
    usable = _usable_heads(feature_sets, heads if any(benchmark.support) else [])
    if control is not None and any(benchmark.support) and control[1] not in usable.get(control[0], [control[1]]):
        usable[control[0]].insert(0, control[1])
    if not zero_shot and not any(usable.values()):
        raise ConfigError(
            f"none of the heads {list(heads)} can use any of the features {[name for name, _ in feature_sets]} with the sizes "
            f"{list(benchmark.support)}; add a head such as 'tanimoto_logistic', or a size such as 16"
        )
    fitted = dict.fromkeys(head for names in usable.values() for head in names)
    settings = _settings(benchmark, feature_sets, list(fitted), zero_shot, random_state, identities)
    rows: list[dict[str, Any]] = []
    with ResultsFile.open(Path(results_path), settings) if results_path is not None else nullcontext() as finished:
        for done, assay in enumerate(benchmark.assays):
            if progress:
                progress("few-shot tasks", done, len(benchmark.assays))
            task = benchmark.read(assay)
            draws = _draws(benchmark, task)
            for name, builder in feature_sets:
                features: FeatureSet | None = None
                for head in usable[name]:
                    scored = _finished(finished, benchmark, assay, draws, name, head)
                    wanted = [draw for draw in draws if draw.size and (draw.size, draw.seed) not in scored]
                    if wanted:
                        features = _built(builder, name, task, usable[name], text_scores) if features is None else features
                        scored |= _kept(
                            finished, benchmark, assay, name, head, _fitted(features, task.y, wanted, head, random_state, n_jobs)
                        )
                    rows += _in_order(scored, draws)
            for (name, head), score in zero_shot.items():
                scored = _finished(finished, benchmark, assay, draws, name, head)
                wanted = [draw for draw in draws if (draw.size, draw.seed) not in scored]
                if wanted:
                    scores = np.asarray(score(assay, task.frame["smiles"].tolist()), dtype=np.float64)
                    values = {(draw.size, draw.seed): score_query(scores, task.y, draw, 0) for draw in wanted}
                    scored |= _kept(finished, benchmark, assay, name, head, values)
                rows += _in_order(scored, draws)
        if progress:
            progress("few-shot tasks", len(benchmark.assays), len(benchmark.assays))
    return pd.DataFrame(rows, columns=list(RESULT_COLUMNS)).astype({"value": np.float64})


Scored = dict[tuple[int, int], list[dict[str, Any]]]
"""Rows of the results by size and seed."""


def _draws(benchmark: FSMol, task: FSMolTask) -> list[Draw]:
    draws = []
    for size in benchmark.support:
        made = [Draw(size, seed, draw_support(task.y, size, seed)) for seed in range(benchmark.draws if size else 1)]
        if any(draw.rows is None for draw in made):
            logger.warning("%s: too small for a support set of %d molecules, which counts as undefined", task.name, size)
        draws += made
    return draws


def _built(builder: Builder, name: str, task: FSMolTask, heads: Sequence[str], text_scores: ZeroShot | None) -> FeatureSet:
    smiles = task.frame["smiles"].tolist()
    features = builder(smiles)
    if features.n_rows != len(smiles):
        raise ShapeError(
            f"the features {name!r} must have one row for each of the {len(smiles)} rows of {task.name}, got {features.n_rows}"
        )
    refused = int((~features.valid).sum())
    if refused:
        logger.warning("%s: %d of %d rows have no features %r and are left out", task.name, refused, features.n_rows, name)
    if text_scores is not None and _reads_text(name):
        features = _with_scores(features, text_scores(task.name, smiles))
    return share_kernel(features) if any(isinstance(few_shot_head(head), KernelHead | BlendedLogistic) for head in heads) else features


def _reads_text(name: str) -> bool:
    return ZERO_SHOT in name.split("+")


def _with_scores(features: FeatureSet, scores: np.ndarray) -> FeatureSet:
    return replace(features, blocks={**features.blocks, ZERO_SHOT: np.asarray(scores, dtype=np.float32)[:, None]})


def _fitted(features: FeatureSet, y: np.ndarray, draws: Sequence[Draw], head: str, random_state: int, n_jobs: int) -> Values:
    """Fit and score all draws, dealt out to processes so that each gets some of every size."""
    n_parts = min(max(n_jobs, 1), len(draws)) if n_jobs > 0 else len(draws)
    parts = [draws[start::n_parts] for start in range(n_parts)]
    scored = Parallel(n_jobs=n_jobs if n_parts > 1 else 1)(delayed(fit_and_score)(features, y, part, head, random_state) for part in parts)
    return {key: values for part in scored for key, values in part.items()}


def _cell(benchmark: FSMol, assay: str, size: int, seed: int, features: str, head: str) -> Cell:
    return benchmark.table_name(size), assay, assay, SPLIT, seed, 1.0, features, head


def _finished(finished: ResultsFile | None, benchmark: FSMol, assay: str, draws: Sequence[Draw], features: str, head: str) -> Scored:
    if finished is None:
        return {}
    known = {
        (draw.size, draw.seed): finished.rows(_cell(benchmark, assay, draw.size, draw.seed, features, head), METRICS) for draw in draws
    }
    return {key: rows for key, rows in known.items() if rows is not None}


def _kept(finished: ResultsFile | None, benchmark: FSMol, assay: str, features: str, head: str, values: Values) -> Scored:
    """The values as rows of the results, written down together."""
    scored: Scored = {}
    for (size, seed), (numbers, n_train, n_test) in values.items():
        cell = _cell(benchmark, assay, size, seed, features, head)
        scored[size, seed] = [
            dict(zip(RESULT_COLUMNS, (*cell, metric, value, n_train, n_test), strict=True))
            for metric, value in zip(METRICS, numbers, strict=True)
        ]
    if finished is not None:
        finished.append([row for rows in scored.values() for row in rows])
    return scored


def _in_order(scored: Scored, draws: Sequence[Draw]) -> Iterator[dict[str, Any]]:
    for draw in draws:
        yield from scored.get((draw.size, draw.seed), ())


def _usable_heads(feature_sets: Sequence[tuple[str, Builder]], heads: Sequence[str]) -> dict[str, list[str]]:
    for what, names in (("features", [name for name, _ in feature_sets]), ("heads", list(heads))):
        if len(set(names)) < len(names):
            raise ConfigError(f"expected different names of {what}, got {names}; name each once")
    made = {head: few_shot_head(head) for head in heads}
    # Which heads fit depends on the kinds of blocks alone, so two molecules tell.
    samples = {name: builder(["CCO", "c1ccccc1"]) for name, builder in feature_sets}
    samples = {name: _with_scores(features, np.zeros(2)) if _reads_text(name) else features for name, features in samples.items()}
    return {name: [head for head in heads if made[head].supports(features)] for name, features in samples.items()}


def _settings(
    benchmark: FSMol,
    feature_sets: Sequence[tuple[str, Builder]],
    heads: Sequence[str],
    zero_shot: Mapping[tuple[str, str], ZeroShot],
    random_state: int,
    identities: Mapping[str, str],
) -> dict[str, Any]:
    features = {name: [identities.get(part, part) for part in name.split("+")] for name, _ in feature_sets}
    features |= {name: [identities.get(name, name)] for name, _ in zero_shot}
    return {
        "shared": {"benchmark": benchmark.name, "random_state": random_state, **benchmark.settings()},
        "features": features,
        "heads": {head: few_shot_head(head).parameters() for head in heads},
    }
