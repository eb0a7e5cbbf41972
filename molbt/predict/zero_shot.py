"""Predictions for an assay without a single label, from its description: a twin's scores, calibrated on assays that it did not see."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from molbt.data.rows import text_of
from molbt.data.seen_texts import load_seen_texts, text_key
from molbt.errors import ConfigError, DataError, ShapeError
from molbt.model.checkpoint import find_model
from molbt.pair_featurizer import PairFeaturizer
from molbt.predict.applicability import Applicability
from molbt.predict.assay_calibration import Sigmoid, assay_folds, fit_sigmoid, held_out_probabilities
from molbt.predict.calibration import Calibration, calibrated
from molbt.predict.features import FeatureSet, feature_builders
from molbt.predict.out_of_fold import OutOfFold

MOST_MOLECULES = 20_000
"""Molecules that the nearest one is looked for among: a thousand predictions take some seconds."""

FEWEST_ASSAYS = 5
"""With fewer held-out assays neither a calibration nor its coverage would mean anything."""

logger = logging.getLogger(__name__)


class RankingQuality(BaseModel):
    """How well scores rank the molecules of held-out assays: means over assays, with 95 % intervals over assays.

    Attributes
    ----------
    n_assays : int
        Held-out assays with both classes.
    roc_auc, roc_auc_interval
        Of the scores with each assay's own description.
    text_ignored : float
        Of the same molecules' mean score over all held-out descriptions: what a frequent hitter gets whatever the assay. It is the control.
    gain, gain_interval
        The mean paired difference of the two.
    n_descriptions, n_seen : int
        The held-out assays' descriptions, and those of them that pretraining had; None where the model does not tell.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    n_assays: int
    roc_auc: float
    roc_auc_interval: tuple[float, float]
    text_ignored: float
    gain: float
    gain_interval: tuple[float, float]
    n_descriptions: int | None = None
    n_seen: int | None = None

    def line(self) -> str:
        """Return it in words."""
        low, high = self.gain_interval
        told = "the text tells something" if low > 0 else "the text costs" if high < 0 else "no gain from the text is shown"
        if self.text_ignored < 0.5:  # beaten by a constant: a difference to it would pass for a gain
            told = "without the text these scores are worse than chance, so the difference claims nothing"
        return (
            f"ROC AUC on {self.n_assays} held-out assays {self.roc_auc:.3f} ({self.roc_auc_interval[0]:.3f} to "
            f"{self.roc_auc_interval[1]:.3f}), with the text ignored {self.text_ignored:.3f}; difference {self.gain:+.3f} ({low:+.3f} to "
            f"{high:+.3f}): {told}"
        )

    def warning(self) -> str:
        """Return what the pretraining saw of these assays, or ``""`` where that is nothing, or not known."""
        if not self.n_seen:
            return ""
        return (
            f"{self.n_seen} of the {self.n_descriptions} descriptions were in the model's pretraining: what was found on them is no "
            "evidence for new assays; calibrate on others"
        )


@dataclass(frozen=True, eq=False)
class ZeroShotPredictor:
    """A twin of molecules and texts with a calibration; make it with ``ZeroShotPredictor.calibrate``.

    Parameters
    ----------
    featurizer : PairFeaturizer
        Fitted.
    sigmoid : Sigmoid
    calibration : Calibration
        Conformal, within each class; ``calibration.summary`` has the coverage on assays that took no part in it.
    ranking : RankingQuality
    texts : tuple of str
        Descriptions of the assays that ``nearest_assay`` is looked for among: those of the training, or of the calibration.
    applicability : Applicability, optional
        Molecules of the same table, at most ``MOST_MOLECULES``.
    """

    featurizer: PairFeaturizer
    sigmoid: Sigmoid
    calibration: Calibration
    ranking: RankingQuality
    texts: tuple[str, ...]
    applicability: Applicability | None = None

    @classmethod
    def calibrate(
        cls,
        model: str | Path,
        smiles: Sequence[Any],
        texts: Sequence[Any],
        labels: Sequence[float] | np.ndarray,
        *,
        training: tuple[Sequence[Any], Sequence[Any]] | None = None,
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
        training : (smiles, texts), optional
            What the model was pretrained on: predictions then name the nearest of these molecules and assays, and otherwise the nearest of
            the calibration.

        Raises
        ------
        DataError
            If a label is neither 0 nor 1, or fewer than five assays have both.
        ShapeError
            If the sequences differ in length.
        ConfigError, CheckpointError
            As ``PairFeaturizer.fit`` does.
        """
        truth = np.asarray(labels, dtype=np.float64)
        if not len(smiles) == len(texts) == len(truth):
            raise ShapeError(f"expected as many texts and labels as SMILES, received {len(smiles)}, {len(texts)} and {len(truth)}")
        odd = truth[np.isfinite(truth) & ~np.isin(truth, (0.0, 1.0))]
        if len(odd):
            raise DataError(f"expected the labels 0 and 1, received {odd[0]:g}; cut values into classes first (molbt fit --active-above)")
        featurizer = PairFeaturizer(model, on_invalid="nan", n_jobs=n_jobs, device=device).fit()
        table, distinct = _scored(featurizer, smiles, texts, truth)
        sigmoid = fit_sigmoid(table)
        fold = assay_folds(table["assay"].to_numpy(), len(distinct))
        seen = load_seen_texts(find_model(model))
        told = {} if seen is None else {"n_descriptions": len(distinct), "n_seen": int(np.isin(_keys(distinct), seen).sum())}
        held_out = held_out_probabilities(table, fold)
        calibration = calibrated(OutOfFold(held_out, fold), table["label"].to_numpy(), "classification", how="cross")
        known_smiles, known_texts = (smiles, distinct) if training is None else training
        return cls(
            featurizer,
            sigmoid,
            calibration,
            _ranking(table).model_copy(update=told),
            tuple(dict.fromkeys(text for text in map(text_of, known_texts) if text.strip())),
            _applicability(known_smiles, featurizer),
        )

    def score(self, smiles: Sequence[Any], texts: Sequence[Any]) -> np.ndarray:
        """Return the probability of activity of each molecule in each assay: ``(molecules, texts)`` float64, NaN where one is refused."""
        return self.sigmoid(self.featurizer.score(smiles, texts))

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


def _scored(featurizer: PairFeaturizer, smiles: Sequence[Any], texts: Sequence[Any], labels: np.ndarray) -> tuple[pd.DataFrame, list[str]]:
    """Return the usable rows of assays with both classes (``assay``, ``score``, ``blind``, ``label``), and the texts of those assays."""
    frame = pd.DataFrame({"smiles": [text_of(value) for value in smiles], "text": [text_of(value) for value in texts], "label": labels})
    frame = frame.dropna(subset="label")
    molecules, texts_found = frame["smiles"].drop_duplicates().tolist(), frame["text"].drop_duplicates().tolist()
    matrix = featurizer.score(molecules, texts_found)
    row, column = pd.Index(molecules).get_indexer(frame["smiles"]), pd.Index(texts_found).get_indexer(frame["text"])
    known = np.isfinite(matrix)
    blind = np.where(known, matrix, 0).sum(axis=1, dtype=np.float64) / np.maximum(known.sum(axis=1), 1)
    frame = frame.assign(score=matrix[row, column].astype(np.float64), blind=blind[row])
    frame = frame[np.isfinite(frame["score"])]
    both = frame.groupby("text")["label"].nunique()
    distinct = [text for text in texts_found if both.get(text, 0) == 2]
    if len(distinct) < FEWEST_ASSAYS:
        raise DataError(
            f"expected {FEWEST_ASSAYS} or more assays with actives and inactives to calibrate on, received {len(distinct)} of "
            f"{len(texts_found)} texts; add measured pairs of other assays"
        )
    frame = frame[frame["text"].isin(distinct)]
    return frame.assign(assay=pd.Index(distinct).get_indexer(frame["text"])).reset_index(drop=True), distinct


def _ranking(table: pd.DataFrame) -> RankingQuality:
    values = np.array(
        [(roc_auc_score(rows["label"], rows["score"]), roc_auc_score(rows["label"], rows["blind"])) for _, rows in table.groupby("assay")]
    )
    gain = values[:, 0] - values[:, 1]
    return RankingQuality(
        n_assays=len(values),
        roc_auc=float(values[:, 0].mean()),
        roc_auc_interval=_interval(values[:, 0]),
        text_ignored=float(values[:, 1].mean()),
        gain=float(gain.mean()),
        gain_interval=_interval(gain),
    )


def _interval(values: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of a mean by Student's t."""
    half = float(student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return float(values.mean()) - half, float(values.mean()) + half


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
