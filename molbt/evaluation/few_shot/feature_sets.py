"""The features of a few-shot table: those of every table, standardised on many molecules, and the score of the assay's description."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from molbt.data.sources import embedded_molecules
from molbt.errors import ConfigError
from molbt.evaluation.controls import control_features
from molbt.evaluation.encoder_features import EncoderFeatures
from molbt.evaluation.few_shot.blended_logistic import ZERO_SHOT
from molbt.evaluation.few_shot.reference import N_MOLECULES, Builder, standardised
from molbt.evaluation.few_shot.text_scores import TextScores

WITH_TEXT = f"counts+embedding+{ZERO_SHOT}"


@dataclass(frozen=True)
class FewShotFeatures:
    """What ``evaluate_few_shot`` takes.

    Attributes
    ----------
    sets : list of (name, builder)
    text_scores : TextScores or None
        Behind the part ``zero_shot``.
    identities : dict of str
        What the values of the parts depend on.
    """

    sets: list[tuple[str, Builder]]
    text_scores: TextScores | None
    identities: dict[str, str]


def few_shot_features(
    encoder: EncoderFeatures | None,
    names: Sequence[str] | None = None,
    *,
    model: str | Path | None = None,
    texts: Mapping[str, str] | None = None,
    n_jobs: int = 1,
) -> FewShotFeatures:
    """Return the features by name, and with them what they must be compared with (see ``control_features``).

    Parameters
    ----------
    encoder : EncoderFeatures, optional
    names : sequence of str, optional
        Such as ``counts+embedding+zero_shot``; that one needs a model that pairs molecules with texts, and is compared with
        ``counts+embedding`` too. By default all of ``control_features``.
    model : path, optional
        Of the encoder.
    texts : mapping of str to str, optional
        Descriptions of the assays.
    n_jobs : int

    Raises
    ------
    ConfigError
        If a name is unknown, or the part ``zero_shot`` cannot be had.

    Notes
    -----
    Dense blocks are z-scores among molecules of the encoder's pretraining, or without an encoder, among those that come with RDKit.
    """
    without = None if names is None else list(dict.fromkeys(_without_score(name) for name in names))
    builders = control_features(encoder.learned if encoder else None, without, policy=encoder.policy if encoder else None, n_jobs=n_jobs)
    reference = (encoder.sample if encoder else embedded_molecules()["smiles"].tolist())[:N_MOLECULES]
    sets = [(name, standardised(builder, reference)) for name, builder in builders]
    digest = hashlib.sha256("\n".join(reference).encode()).hexdigest()
    scale = f"standardised on {digest}"
    identities = {"descriptors": f"descriptors {scale}"}
    identities |= {name: f"{identity} {scale}" for name, identity in (encoder.identities if encoder else {}).items()}
    scored = [name for name in names or () if _without_score(name) != name]
    if not scored:
        return FewShotFeatures(sets, None, identities)
    if model is None or not texts:
        missing = "--model" if model is None else "descriptions of the assays"
        raise ConfigError(f"the features {scored[0]!r} need a model that pairs molecules with texts, and texts; there are no {missing}")
    text_scores = TextScores(model, texts, n_jobs=n_jobs)
    by_name = dict(sets)
    sets += [(name, by_name[_without_score(name)]) for name in scored]
    return FewShotFeatures(sets, text_scores, identities | {ZERO_SHOT: text_scores.identity})


def _without_score(name: str) -> str:
    rest = [part for part in name.split("+") if part != ZERO_SHOT]
    if not rest:
        raise ConfigError(
            f"the features {ZERO_SHOT!r} are scores to start from and stand beside others, received {name!r}; such as {WITH_TEXT}"
        )
    return "+".join(rest)
