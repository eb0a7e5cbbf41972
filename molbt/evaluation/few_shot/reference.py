"""Dense features standardised on many molecules: a support set of 16 cannot tell how much a number usually varies."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from molbt.errors import DataError
from molbt.predict.features import FeatureSet
from molbt.predict.scaling import BlockScaler

Builder = Callable[[Sequence[str]], FeatureSet]

N_MOLECULES = 2_000
"""Enough for the mean and deviation of a column; descriptors of more would take longer than the evaluation."""


def standardised(builder: Builder, reference: Sequence[str]) -> Builder:
    """Return a builder whose dense blocks are z-scores with the mean and deviation among reference molecules.

    Parameters
    ----------
    builder : callable
        From SMILES to a ``FeatureSet``. Features without a dense block are left as they are.
    reference : sequence of str
        SMILES that no task is about, such as those of the encoder's pretraining; those that cannot be read are left out.

    Raises
    ------
    DataError
        If fewer than two of the reference molecules can be used.
    """
    known = builder(reference)
    if not known.dense_blocks:
        return builder
    known = known.rows(known.valid)
    if known.n_rows < 2:
        raise DataError(f"expected two or more reference molecules that can be read, got {known.n_rows} of {len(reference)}; give others")
    scaler = BlockScaler().fit(_dense(known))

    def build(smiles: Sequence[str]) -> FeatureSet:
        features = builder(smiles)
        scaled = scaler.transform(_dense(features)).dense_blocks
        return replace(features, blocks={name: scaled.get(name, block) for name, block in features.blocks.items()})

    return build


def _dense(features: FeatureSet) -> FeatureSet:
    return FeatureSet(features.name, dict(features.dense_blocks), features.valid)
