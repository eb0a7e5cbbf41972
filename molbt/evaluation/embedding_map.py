"""Two principal components of the evaluated molecules, for each kind of learned features: no method that needs tuning or luck."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from molbt.data.molecule_values import crippen_logp
from molbt.data.molecules import ParsePolicy
from molbt.evaluation.benchmarks.base import Benchmark
from molbt.predict.features import Embed

MAX_MOLECULES = 5_000


def embedding_map(
    benchmark: Benchmark,
    learned: Mapping[str, Embed],
    *,
    policy: ParsePolicy | None = None,
    max_molecules: int = MAX_MOLECULES,
    random_state: int = 0,
) -> tuple[pd.DataFrame, str]:
    """Return the points of a map, and what their values are.

    Parameters
    ----------
    benchmark : Benchmark
        Its molecules are drawn, at random where there are more than ``max_molecules``.
    learned : mapping of str to callable
        From SMILES to ``(n, width)``, NaN rows where refused. Molecules that one of them refuses are left out of all.
    policy : ParsePolicy, optional
    max_molecules : int
    random_state : int
        Of the draw.

    Returns
    -------
    points : DataFrame
        Columns features, x, y, value, explained (share of the variance in both components); one row per features and molecule.
    value_name : str
        The task, when there is one: the values are its labels. Otherwise ``Crippen logP``.
    """
    labels: dict[str, float] = {}
    tasks = set()
    for task in benchmark.tasks():
        tasks.add(task.name)
        labels = dict(zip(task.smiles, task.y.tolist(), strict=True)) | labels
    smiles = [text for text in labels if isinstance(text, str)]
    if len(smiles) > max_molecules:
        drawn = np.random.default_rng(random_state).choice(len(smiles), max_molecules, replace=False)
        smiles = [smiles[place] for place in np.sort(drawn)]
    if len(tasks) == 1:
        values, value_name = np.array([labels[text] for text in smiles]), tasks.pop()
    else:
        values, value_name = crippen_logp(smiles, policy), "Crippen logP"
    matrices = {name: np.asarray(embed(smiles), dtype=np.float64) for name, embed in learned.items()}
    usable = np.isfinite(values) & np.logical_and.reduce([np.isfinite(matrix).all(axis=1) for matrix in matrices.values()])
    frames = []
    for name, matrix in matrices.items():
        points, explained = two_components(matrix[usable])
        frames.append(
            pd.DataFrame({"features": name, "x": points[:, 0], "y": points[:, 1], "value": values[usable], "explained": explained})
        )
    return pd.concat(frames, ignore_index=True), value_name


def two_components(matrix: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the first two principal components of rows, ``(n, 2)``, and the share of the variance in them.

    Signs are fixed (the largest loading is positive), so the same rows give the same picture.
    """
    centred = matrix - matrix.mean(axis=0)
    variances, directions = np.linalg.eigh(centred.T @ centred)
    directions = directions[:, -2:][:, ::-1]
    largest = np.abs(directions).argmax(axis=0)
    directions = directions * np.sign(directions[largest, np.arange(directions.shape[1])])
    total = variances.sum()
    return centred @ directions, float(variances[-2:].sum() / total) if total > 0 else 1.0
