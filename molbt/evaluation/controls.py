"""The controls that every table holds: what plain chemistry, principal components and an untrained encoder give under the same heads.

An encoder earned its place where ``embedding`` or ``counts+embedding`` beats these, first of all ``CONTROL``.
"""

from collections.abc import Mapping, Sequence

from molbt.data.molecules import ParsePolicy
from molbt.errors import ConfigError, suggestion
from molbt.predict.features import COMPUTED, LEARNED, Embed, FeatureBuilder, feature_builders

CONTROL = ("counts", "tanimoto_svm")
"""Features and head that the others are compared with: the strongest cheap control measured so far (on MoleculeACE ahead of everything
published)."""


def control_features(
    learned: Mapping[str, Embed] | None = None,
    names: Sequence[str] | None = None,
    *,
    policy: ParsePolicy | None = None,
    n_jobs: int = 1,
) -> list[tuple[str, FeatureBuilder]]:
    """Return the features of a table, controls first, ready for ``evaluate``.

    Parameters
    ----------
    learned : mapping of str to callable, optional
        ``pca`` (see ``molbt.evaluation.principal_components``), ``untrained`` (the encoder as it was initialised), ``embedding`` (the
        encoder in question), or any other name. ``embedding`` and ``untrained`` come a second time beside ``counts``: what an encoder adds
        to plain fingerprints is fairly told only by the same encoder untrained in the same place.
    names : sequence of str, optional
        Only these, such as ``counts+descriptors+embedding``, and with them what they must be compared with: ``counts``, and for an
        ``embedding`` the same features with the encoder untrained.
    policy : ParsePolicy, optional
        How SMILES are read for counts and descriptors.
    n_jobs : int
        Processes for counts and descriptors.

    Raises
    ------
    ConfigError
        If a name is not one of features that can be had here; those of an encoder need one.
    """
    learned = dict(learned or {})
    order = ["pca", "untrained", "embedding"]
    plain = ["counts", "descriptors", "counts+descriptors"]
    encoded = sorted(learned, key=lambda name: order.index(name) if name in order else len(order))
    encoded += [f"counts+{name}" for name in ("untrained", "embedding") if name in learned]
    chosen = [*plain, *encoded] if names is None else _with_their_controls(names, [*plain, *encoded], learned)
    return list(feature_builders(chosen, learned=learned, policy=policy, n_jobs=n_jobs).items())


def _with_their_controls(names: Sequence[str], usual: Sequence[str], learned: Mapping[str, Embed]) -> list[str]:
    """Return the names and those they are judged by, in the usual order, other combinations last."""
    known = (*COMPUTED, *learned)
    for name in names:
        for part in name.split("+"):
            if part not in known:
                needs = "those of an encoder need --model" if part in LEARNED else "join several by a plus sign"
                raise ConfigError(f"unknown features {part!r} in {name!r} of this table{suggestion(part, known)}; {needs}")
    wanted = dict.fromkeys(["counts", *(each for name in names for each in (name.replace("embedding", "untrained"), name))])
    return sorted(wanted, key=lambda name: usual.index(name) if name in usual else len(usual))
