"""Where the scores of a zero-shot predictor come from: the twin itself, or trees that learn from labelled pairs."""

from collections.abc import Sequence
from typing import Any

from molbt.data.seen_texts import text_key, text_keys
from molbt.errors import ConfigError, DataError, suggestion
from molbt.pair_featurizer import PairFeaturizer
from molbt.predict.boosted_pairs import BoostedPairs
from molbt.predict.training_pairs import MAX_PAIRS, TrainingPairs

HEADS = ("twin", "lightgbm")


def check_head(head: str, training: Sequence[Any] | None, *, max_pairs: int | None, random_state: int | None) -> None:
    """Raise ConfigError unless there is such a head, and it has and uses what is given."""
    if head not in HEADS:
        raise ConfigError(f"unknown head {head!r}{suggestion(head, HEADS)}")
    given = "none" if training is None else f"{len(training)} sequences"
    if head == "lightgbm" and (training is None or len(training) != 3):
        raise ConfigError(
            f"expected labelled training pairs for the head lightgbm, training=(smiles, texts, labels), received {given}; give measured "
            "pairs of assays that are not held out: molbt calibrate HELD_OUT --head lightgbm --training TRAIN"
        )
    if head == "twin" and training is not None and len(training) != 2:
        raise ConfigError(
            f"expected training=(smiles, texts) for the head twin, which learns from no labels, received {given}; leave the labels out, or "
            "use the head lightgbm"
        )
    for option, value in (("max_pairs", max_pairs), ("random_state", random_state)):
        if head == "twin" and value is not None:
            raise ConfigError(
                f"expected no {option} for the head twin, which learns from no pairs, received {value}; leave it out, or use "
                "the head lightgbm"
            )
    if max_pairs is not None and max_pairs < 2:
        raise ConfigError(f"expected two or more training pairs, received max_pairs {max_pairs}; by default they are {MAX_PAIRS:,}")


def fit_boosted(
    twin: PairFeaturizer, training: Sequence[Any], held_out: Sequence[str], *, max_pairs: int | None, random_state: int
) -> BoostedPairs:
    """Return trees that learned from pairs of a table, on the embeddings of a twin.

    Parameters
    ----------
    twin : PairFeaturizer
        Fitted, with ``on_invalid="nan"``.
    training : (smiles, texts, labels)
    held_out : sequence of str
        Texts of the assays that the trees are to be calibrated on.
    max_pairs : int, optional
        Drawn from the table; by default ``MAX_PAIRS``.
    random_state : int
        Of the draw and the trees.

    Raises
    ------
    DataError
        If an assay is in both tables, or the table has no pairs to learn from (``TrainingPairs.of_texts``, ``BoostedPairs.fit``).
    """
    pairs = TrainingPairs.of_texts(*training)
    keys = set(text_keys(pairs.texts).tolist())
    known = [text for text in held_out if text_key(text) in keys]
    if known:
        raise DataError(
            f"expected held-out assays that the training pairs do not have, received {len(known)} of {len(held_out)} texts that are in "
            f"both tables, the first {known[0][:60]!r}; leave these assays out of one of the two"
        )
    return BoostedPairs.fit(twin, pairs.sampled(max_pairs or MAX_PAIRS, random_state), random_state=random_state, n_jobs=twin.n_jobs)
