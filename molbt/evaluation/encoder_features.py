"""The learned features of a table: an encoder, the same encoder untrained, and principal components of its inputs."""

import functools
import hashlib
import importlib.metadata
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from molbt.data.files import cache_directory, exclusive_lock, new_directory
from molbt.data.molecules import ParsePolicy
from molbt.data.samples import read_drawn_molecules
from molbt.data.sources import embedded_molecules
from molbt.evaluation.principal_components import PrincipalComponents
from molbt.featurizer import MoleculeFeaturizer
from molbt.model.checkpoint import find_model, from_pretrained, read_config, save_pretrained
from molbt.model.twin_model import TwinModel, reset_randomly
from molbt.predict.features import Embed

logger = logging.getLogger(__name__)

# Enough molecules to fix 512 components; more change nothing that a task can see and cost memory.
_PCA_MOLECULES = 10_000


@dataclass(frozen=True)
class EncoderFeatures:
    """What ``evaluate`` needs to compare an encoder with its own controls.

    Attributes
    ----------
    learned : dict of callable
        ``pca``, ``untrained`` and ``embedding``: from SMILES to ``(n, width)`` float32, NaN rows where refused.
    identities : dict of str
        For each, the hash of what decides it; results made with others are not reused.
    policy : ParsePolicy
        How the encoder reads SMILES; the plain controls read them the same way.
    notes : list of str
        Sentences for the report.
    sample : list of str
        Molecules of its pretraining, or those that come with RDKit.
    """

    learned: dict[str, Embed]
    identities: dict[str, str]
    policy: ParsePolicy
    notes: list[str]
    sample: list[str]


def encoder_features(
    model: str | Path, directory: str | Path, *, layer: str = "embedding", random_state: int = 0, n_jobs: int = 1
) -> EncoderFeatures:
    """Return an encoder's features and those of its controls.

    Parameters
    ----------
    model : path
        A run or model directory.
    directory : path
        The untrained encoder is written to ``untrained`` in it, so that the control can be loaded again.
    layer : str
        ``"embedding"``, or an earlier output of the encoder such as ``"hidden_1"``; the controls are as wide.
    random_state : int
        Of the untrained weights and the decomposition.
    n_jobs : int
        Worker processes for reading molecules.

    Notes
    -----
    The principal components are fitted on molecules of the encoder's own pretraining, which a run keeps in ``sample.csv``. For a model
    without one they are fitted on the molecules that come with RDKit, and a note says so.
    """
    found = find_model(model)
    twin = from_pretrained(found)
    untrained = save_pretrained(reset_randomly(twin, random_state), Path(directory) / "untrained", facts={"control": "never trained"})
    sample, notes = _pretraining_sample(found)
    policy = twin.config.molecules.policy()
    hashes = {name: f"{read_config(path)['sha256']} {layer}" for name, path in (("embedding", found), ("untrained", untrained))}
    hashes["pca"] = hashlib.sha256("\n".join([hashes["untrained"], *sample]).encode()).hexdigest()
    featurizers = {
        name: MoleculeFeaturizer(path, output=layer, on_invalid="nan", n_jobs=n_jobs).fit()
        for name, path in (("untrained", untrained), ("embedding", found))
    }
    learned: dict[str, Embed] = {
        "pca": _principal_components(twin, featurizers["embedding"].views_, layer, sample, policy, random_state, hashes["pca"]),
        **{name: featurizer.transform for name, featurizer in featurizers.items()},
    }
    return EncoderFeatures(learned, hashes, policy, notes, sample)


def _pretraining_sample(model: Path) -> tuple[list[str], list[str]]:
    """Return molecules to fit the principal components on, and a note on where they come from."""
    path = model.parent / "sample.csv"
    if path.is_file():
        smiles = read_drawn_molecules(path)[:_PCA_MOLECULES]
        return smiles, [f"Principal components of the encoder's inputs were fitted on {len(smiles):,} molecules of its own pretraining."]
    smiles = embedded_molecules()["smiles"].tolist()[:_PCA_MOLECULES]
    return smiles, [
        "The run's own molecules are not beside the model: principal components were fitted on "
        f"{len(smiles):,} molecules that come with RDKit."
    ]


def _principal_components(
    twin: TwinModel, views: Sequence[str], layer: str, sample: Sequence[str], policy: ParsePolicy, random_state: int, identity: str
) -> Embed:
    """Return the components of each molecular encoder's inputs, side by side, as wide as the encoders' outputs.

    They are fitted at the first call, since not every table shows them, and kept in the cache directory: it takes a minute or two.
    """

    @functools.cache
    def fitted() -> list[PrincipalComponents]:
        return [_fitted_or_kept(view) for view in views]

    def _fitted_or_kept(view: str) -> PrincipalComponents:
        width = twin.encoder_of(view).output_dims[layer]
        components = PrincipalComponents(twin.modalities[view], width, policy=policy, random_state=random_state)
        versions = [importlib.metadata.version(package) for package in ("molbt", "rdkit", "scikit-learn")]
        key = hashlib.sha256("\n".join([identity, view, str(random_state), *versions]).encode()).hexdigest()
        folder = cache_directory() / "components"
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(folder / "lock"):
            if (folder / key).is_dir():
                return components.load(folder / key)
            components.fit(sample)
            with new_directory(folder / key) as directory:
                components.save(directory)
        return components

    def transform(smiles: Sequence[str]) -> np.ndarray:
        return np.concatenate([components(smiles) for components in fitted()], axis=1)

    return transform
