"""The part of a feature set that an encoder gives."""

from collections.abc import Sequence
from pathlib import Path

from molbt.errors import ConfigError
from molbt.featurizer import MoleculeFeaturizer
from molbt.predict.bounded_features import BoundedBuilder
from molbt.predict.features import COMPUTED, FeatureBuilder, feature_builders, parse_feature_name


def encoder_for(
    names: Sequence[str], model: str | Path | None, *, layer: str = "embedding", n_jobs: int = 1, device: str = "auto"
) -> MoleculeFeaturizer | None:
    """Return the fitted encoder that the named features need, or None where none of them has an ``embedding``.

    Raises
    ------
    ConfigError
        If a name is unknown or a control of an evaluation (``untrained``, ``pca``), or the embedding is asked for without a model or with a
        layer that the model has not.
    CheckpointError
        If there is no whole model at the path.
    """
    parts = {part for name in names for part in parse_feature_name(name)}
    foreign = parts - {*COMPUTED, "embedding"}
    if foreign:
        raise ConfigError(f"the features {', '.join(sorted(foreign))} are controls of an evaluation; use counts, descriptors or embedding")
    if "embedding" not in parts:
        return None
    if model is None:
        raise ConfigError(f"the features {', '.join(names)} need an encoder, received no model; pass model='runs/a' (--model runs/a)")
    return MoleculeFeaturizer(model, output=layer, on_invalid="nan", n_jobs=n_jobs, device=device).fit()


def builders_with(
    names: Sequence[str], featurizer: MoleculeFeaturizer | None, *, n_jobs: int = 1, memory_limit: int | None = None
) -> dict[str, FeatureBuilder]:
    """Return the builders of the named features; with an encoder, all parts read molecules as it does.

    With ``memory_limit`` (bytes), dense features that take more are kept in a file (`BoundedBuilder`).
    """
    if featurizer is None:
        builders = feature_builders(names, n_jobs=n_jobs)
    else:
        builders = feature_builders(names, learned={"embedding": featurizer.transform}, policy=featurizer.policy_, n_jobs=n_jobs)
    if memory_limit is None:
        return builders
    return {name: BoundedBuilder(builder, memory_limit) for name, builder in builders.items()}
