"""Predictions for an assay without a single label, from its description: scores of a twin, or of LightGBM on its embeddings, calibrated
on assays that neither saw."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from molbt.data.rows import text_of
from molbt.data.seen_texts import load_seen_texts, text_key
from molbt.errors import ConfigError
from molbt.model.checkpoint import find_model
from molbt.pair_featurizer import PairFeaturizer
from molbt.predict.applicability import Applicability
from molbt.predict.assay_calibration import Sigmoid, assay_folds, fit_sigmoid, held_out_probabilities
from molbt.predict.boosted_pairs import BoostedPairs
from molbt.predict.calibration import Calibration, calibrated
from molbt.predict.features import FeatureSet, feature_builders
from molbt.predict.held_out_scores import boosted_scorer, check_assays, held_out_scores, score_pairs, twin_scorer
from molbt.predict.out_of_fold import OutOfFold
from molbt.predict.pair_block import pair_features
from molbt.predict.pair_explanation import PairExplanation, explain_pairs
from molbt.predict.ranking_quality import RankingQuality, ranking_of
from molbt.predict.training_pairs import labelled_pairs
from molbt.predict.zero_shot_heads import check_head, fit_boosted

MOST_MOLECULES = 20_000
"""Molecules that the nearest one is looked for among: a thousand predictions take some seconds."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ZeroShotPredictor:
    """A twin of molecules and texts, perhaps with trees on its embeddings, and a calibration; make it with
    ``ZeroShotPredictor.calibrate``.

    Parameters
    ----------
    featurizer : PairFeaturizer
        Fitted.
    sigmoid : Sigmoid
    calibration : Calibration
        Conformal, within each class; ``calibration.summary`` has the coverage on assays that took no part in it, with assays as units.
    ranking : RankingQuality
    texts : tuple of str
        Descriptions of the assays that ``nearest_assay`` is looked for among: those of the training, or of the calibration.
    applicability : Applicability, optional
        Molecules of the same table, at most ``MOST_MOLECULES``.
    boosted : BoostedPairs, optional
        What scores instead of the twin itself.
    """

    featurizer: PairFeaturizer
    sigmoid: Sigmoid
    calibration: Calibration
    ranking: RankingQuality
    texts: tuple[str, ...]
    applicability: Applicability | None = None
    boosted: BoostedPairs | None = None

    @classmethod
    def calibrate(
        cls,
        model: str | Path,
        smiles: Sequence[Any],
        texts: Sequence[Any],
        labels: Sequence[float] | np.ndarray,
        *,
        head: str = "twin",
        training: tuple[Sequence[Any], ...] | None = None,
        max_pairs: int | None = None,
        random_state: int | None = None,
        n_jobs: int = 1,
        device: str = "auto",
    ) -> Self:
        """Calibrate a pretrained twin on measured pairs of assays that its pretraining did not have.

        The assays, not the rows, are what has to be new: probabilities and sets are fitted on some of these assays and counted on others.

        Parameters
        ----------
        model : path
            A run or model directory that pairs molecules with texts.
        smiles, texts, labels : sequences of n
            One row per measurement; equal texts are one assay. Labels are 0 and 1; NaN has no say.
        head : {"twin", "lightgbm"}
            Where scores come from: the twin itself, or LightGBM on its frozen embeddings, which learns from the training pairs.
        training : (smiles, texts) or, for the head lightgbm, (smiles, texts, labels), optional
            What the model was pretrained on: predictions then name the nearest of these molecules and assays, and otherwise the nearest of
            the calibration. LightGBM needs them; none of their assays may be among those of the calibration.
        max_pairs, random_state : int, optional
            Of the head lightgbm: so many of the labelled training pairs (200,000) are drawn by this seed (0), which also seeds the trees.

        Raises
        ------
        DataError
            If a label is neither 0 nor 1, fewer than five assays have both, or an assay is in both tables of the head lightgbm.
        ShapeError
            If the sequences differ in length.
        ConfigError, CheckpointError
            As ``PairFeaturizer.fit`` does; ConfigError also if the head is unknown, has no training pairs to learn from, or does not use
            what is given.
        """
        check_head(head, training, max_pairs=max_pairs, random_state=random_state)
        pairs = labelled_pairs(smiles, texts, labels)
        check_assays(pairs["text"], pairs["label"])  # before the work
        featurizer = PairFeaturizer(model, on_invalid="nan", n_jobs=n_jobs, device=device).fit()
        boosted = None
        if head == "lightgbm" and training is not None:
            boosted = fit_boosted(
                featurizer, training, pairs["text"].unique().tolist(), max_pairs=max_pairs, random_state=random_state or 0
            )
        scorer = twin_scorer(featurizer) if boosted is None else boosted_scorer(featurizer, boosted)
        table, distinct = held_out_scores(pairs, scorer)
        if boosted is not None:
            table = table.assign(twin=score_pairs(table, twin_scorer(featurizer))[0])
        sigmoid = fit_sigmoid(table)
        assay = table["assay"].to_numpy()
        fold = assay_folds(assay, len(distinct))
        seen = load_seen_texts(find_model(model))
        told = {} if seen is None else {"n_descriptions": len(distinct), "n_seen": int(np.isin(_keys(distinct), seen).sum())}
        held_out = held_out_probabilities(table, fold)
        calibration = calibrated(OutOfFold(held_out, fold), table["label"].to_numpy(), "classification", how="cross", assays=assay)
        known_smiles, known_texts = (smiles, distinct) if training is None else training[:2]
        return cls(
            featurizer,
            sigmoid,
            calibration,
            ranking_of(table).model_copy(update=told),
            tuple(dict.fromkeys(text for text in map(text_of, known_texts) if text.strip())),
            _applicability(known_smiles, featurizer),
            boosted,
        )

    def score(self, smiles: Sequence[Any], texts: Sequence[Any]) -> np.ndarray:
        """Return the probability of activity of each molecule in each assay: ``(molecules, texts)`` float64, NaN where one is refused."""
        if self.boosted is None:
            return self.sigmoid(self.featurizer.score(smiles, texts))
        embedded = self.featurizer.embed_molecules(smiles)[0]
        return self.sigmoid(self.boosted.score(embedded, self.featurizer.embed_texts(texts)[0]))

    def explain(self, smiles: Sequence[Any], text: str, *, n: int = 5) -> list[PairExplanation | None]:
        """Return what the prediction of each molecule for an assay rests on, in order; None where the molecule is refused.

        Parameters
        ----------
        smiles : sequence of str
        text : str
        n : int
            Training pairs and assays to return for each molecule.

        Raises
        ------
        ConfigError
            If the predictor has no trees, or the text cannot be used.
        """
        trees = self.explainable()
        embedded, reasons = self.featurizer.embed_texts([text])
        if reasons[0]:
            raise ConfigError(f"expected a description of an assay, received {text!r} ({reasons[0]}); give a sentence or two")
        molecules = self.featurizer.embed_molecules(smiles)[0]
        places = np.arange(len(molecules))
        return explain_pairs(trees, pair_features(molecules, embedded, places, np.zeros_like(places)), n=n)

    def explainable(self) -> BoostedPairs:
        """Return the trees that predictions rest on; ConfigError if there are none."""
        if self.boosted is None:
            raise ConfigError(
                "expected a predictor with the head lightgbm, received one with the head twin, whose score has no parts to show; make one "
                "with molbt calibrate --head lightgbm --training TRAIN"
            )
        return self.boosted

    def predict_table(self, smiles: Sequence[Any], text: str, *, confidence: float = 0.9, nearest: bool | None = None) -> pd.DataFrame:
        """Return predictions for one assay, one row per molecule, in order.

        Parameters
        ----------
        nearest : bool, optional
            Whether to add the nearest known molecule and assay; by default, where they were kept.

        Returns
        -------
        DataFrame
            ``prediction`` (probability), ``prediction_set`` (text such as ``{0,1}``), ``prediction_p0`` and ``prediction_p1``; missing
            where the molecule was refused. With ``nearest`` also the columns of ``nearest_molecules`` and ``nearest_assay``, the
            latter the same in each row.
        """
        probabilities = self.score(smiles, [text])[:, 0]
        sets = self.calibration.conformal.sets(probabilities, confidence)
        p_values = self.calibration.conformal.p_values(probabilities)
        names = np.array(["{}", "{0}", "{1}", "{0,1}"], dtype=object)[sets @ np.array([1, 2])]
        names[np.isnan(probabilities)] = None
        found = pd.DataFrame(
            {"prediction": probabilities, "prediction_set": names, "prediction_p0": p_values[:, 0], "prediction_p1": p_values[:, 1]}
        )
        if not self._shows_nearest(nearest):
            return found
        assays = pd.concat([self.nearest_assay([text])] * len(found), ignore_index=True) if len(found) else self.nearest_assay([])
        return pd.concat([found, self.nearest_molecules(smiles), assays], axis=1)

    def nearest_molecules(self, smiles: Sequence[Any]) -> pd.DataFrame:
        """Return the nearest known molecule of each molecule, as ``Applicability.describe`` does.

        Raises
        ------
        ConfigError
            If the predictor was made without known molecules.
        """
        if self.applicability is None:
            raise ConfigError("this predictor keeps no molecules to compare with; make it anew (molbt calibrate), or leave --nearest out")
        return self.applicability.describe(_counts([text_of(value) for value in smiles], self.featurizer))

    def _shows_nearest(self, nearest: bool | None) -> bool:
        return self.applicability is not None if nearest is None else nearest

    def nearest_assay(self, texts: Sequence[str]) -> pd.DataFrame:
        """Return the known assay whose embedding is nearest to each text: ``nearest_assay`` and ``nearest_assay_cosine``.

        A text far from all of them is outside of what the model learned from, or of what the coverage was counted on.
        """
        known, _ = self.featurizer.embed_texts(self.texts)
        asked, _ = self.featurizer.embed_texts(list(texts))
        cosine = _unit(asked) @ _unit(known).T
        usable = np.isfinite(cosine).all(axis=1)
        nearest = np.where(usable, np.nan_to_num(cosine, nan=-2).argmax(axis=1), -1)
        return pd.DataFrame(
            {
                "nearest_assay": [self.texts[number] if number >= 0 else None for number in nearest.tolist()],
                "nearest_assay_cosine": np.where(usable, cosine.max(axis=1), np.nan),
            }
        )


def _applicability(smiles: Sequence[Any], featurizer: PairFeaturizer) -> Applicability:
    """Of the distinct molecules, at most ``MOST_MOLECULES`` drawn at random; their row is the first that holds them."""
    rows = pd.Series([text_of(value) for value in smiles]).drop_duplicates()
    if len(rows) > MOST_MOLECULES:
        logger.info("nearest molecules are looked for among %d of %d, drawn at random", MOST_MOLECULES, len(rows))
        rows = rows.sample(MOST_MOLECULES, random_state=0).sort_index()
    found = Applicability.fit(_counts(rows.tolist(), featurizer), rows.tolist())
    return replace(found, rows=rows.index.to_numpy(dtype=np.int64)[found.rows])


def _counts(smiles: Sequence[str], featurizer: PairFeaturizer) -> FeatureSet:
    return feature_builders(["counts"], policy=featurizer.molecules_.policy_, n_jobs=featurizer.n_jobs)["counts"](smiles)


def _keys(texts: Sequence[str]) -> np.ndarray:
    return np.array([text_key(text) for text in texts], dtype=np.uint64)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
