"""Scores of measured pairs of held-out assays, and of the same molecules with the text ignored: what a calibration is fitted on."""

import logging
from collections.abc import Callable

import numpy as np
import pandas as pd

from molbt.errors import DataError
from molbt.pair_featurizer import PairFeaturizer
from molbt.predict.boosted_pairs import BoostedPairs, log_odds
from molbt.predict.pair_block import pair_features

FEWEST_ASSAYS = 5
"""With fewer held-out assays neither a calibration nor its coverage would mean anything."""

CONTROL_PAIRS = 2_000_000
"""Most pairs that trees score for the control that ignores the text: beyond it, molecules are scored with some of the texts only."""

FEWEST_CONTROL_TEXTS = 20

Scorer = Callable[[list[str], list[str], np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From distinct molecules and texts and the place of each pair in these to the score of each pair, and to the mean score of its molecule
over the texts: ``(pairs,)`` float64 both, NaN where the pair is refused."""

logger = logging.getLogger(__name__)


def held_out_scores(pairs: pd.DataFrame, scorer: Scorer) -> tuple[pd.DataFrame, list[str]]:
    """Return the scored pairs of assays with both classes, and the texts of these assays.

    Parameters
    ----------
    pairs : DataFrame
        ``smiles``, ``text`` and ``label`` (0 or 1); equal texts are one assay.
    scorer : callable

    Returns
    -------
    DataFrame, list of str
        The pairs that have a score, with ``assay`` (int, place among the texts), ``score`` and ``blind``.

    Raises
    ------
    DataError
        If fewer than five assays have both classes among the pairs that have a score.
    """
    score, blind = score_pairs(pairs, scorer)
    scored = pairs.assign(score=score, blind=blind)[np.isfinite(score)]
    both = set(check_assays(scored["text"], scored["label"]))
    distinct = [text for text in pairs["text"].drop_duplicates().tolist() if text in both]
    scored = scored[scored["text"].isin(distinct)]
    return scored.assign(assay=pd.Index(distinct).get_indexer(scored["text"])).reset_index(drop=True), distinct


def score_pairs(pairs: pd.DataFrame, scorer: Scorer) -> tuple[np.ndarray, np.ndarray]:
    """Return the score of each pair, and the score of its molecule with the text ignored; see ``Scorer``.

    Parameters
    ----------
    pairs : DataFrame
        ``smiles`` and ``text``.
    """
    molecules, texts = pairs["smiles"].drop_duplicates().tolist(), pairs["text"].drop_duplicates().tolist()
    return scorer(molecules, texts, pd.Index(molecules).get_indexer(pairs["smiles"]), pd.Index(texts).get_indexer(pairs["text"]))


def check_assays(texts: pd.Series, labels: pd.Series) -> list[str]:
    """Return the texts that have both labels; DataError if they are fewer than five."""
    both = labels.groupby(texts).nunique() == 2
    if both.sum() < FEWEST_ASSAYS:
        raise DataError(
            f"expected {FEWEST_ASSAYS} or more assays with actives and inactives to calibrate on, received {both.sum()} of "
            f"{len(both)} texts; add measured pairs of other assays"
        )
    return [str(text) for text in both.index[both]]


def twin_scorer(twin: PairFeaturizer) -> Scorer:
    """Return the score of a twin itself."""

    def scores(molecules: list[str], texts: list[str], row: np.ndarray, column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        matrix = twin.score(molecules, texts)
        known = np.isfinite(matrix)
        blind = np.where(known, matrix, 0).sum(axis=1, dtype=np.float64) / np.maximum(known.sum(axis=1), 1)
        return matrix[row, column].astype(np.float64), blind[row]

    return scores


def boosted_scorer(twin: PairFeaturizer, boosted: BoostedPairs) -> Scorer:
    """Return the log-odds of trees on a twin's embeddings; memory holds those of one text at a time."""

    def scores(molecules: list[str], texts: list[str], row: np.ndarray, column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        embedded, of_texts = twin.embed_molecules(molecules)[0], twin.embed_texts(texts)[0]
        own = log_odds(boosted.head, pair_features(embedded, of_texts, row, column))
        total = np.zeros(len(molecules))
        chosen = _control_texts(np.flatnonzero(np.isfinite(of_texts).all(axis=1)), len(molecules))
        for place in chosen.tolist():
            total += boosted.score_for(embedded, of_texts[place])
        return own, total[row] / max(len(chosen), 1)

    return scores


def _control_texts(usable: np.ndarray, n_molecules: int) -> np.ndarray:
    most = max(FEWEST_CONTROL_TEXTS, CONTROL_PAIRS // n_molecules)
    if len(usable) <= most:
        return usable
    logger.info("the scores with the text ignored are means over %d of %d texts, drawn at random", most, len(usable))
    return np.sort(np.random.default_rng(0).choice(usable, most, replace=False))
