"""From the columns of a count block back to the atoms of a molecule."""

from collections.abc import Callable

from rdkit.Chem import FindAtomEnvironmentOfRadiusN, Mol, rdFingerprintGenerator

from molbt.errors import ConfigError
from molbt.modalities._rdkit_fingerprints import FingerprintKind

Environments = dict[int, list[tuple[int, ...]]]
"""For each column that occurs, the atoms of each of its occurrences."""


def environments_of(kind: str, width: int) -> Callable[[Mol], Environments]:
    """Return a function from a molecule to the places where each of its features occurs.

    Parameters
    ----------
    kind : str
        ``ecfp<n>``, ``fcfp<n>`` or ``atom_pair``, also with ``_chiral``: the name of a block of counts.
    width : int
        What the fingerprint is folded to. Features folded onto one column stand there together.

    Returns
    -------
    callable
        Its result has the columns of RDKit's count fingerprint as keys, and as many places for each as its count: all atoms within the
        radius of a circular feature, the two atoms of a pair. It holds an RDKit generator, which cannot be pickled.

    Raises
    ------
    ConfigError
        If the kind is unknown, or RDKit does not say where its features occur.
    """
    fingerprint = FingerprintKind.from_name(kind)
    place = _PLACES.get(fingerprint.family)
    if place is None:
        raise ConfigError(f"the features of {kind!r} cannot be traced to atoms; those of ecfp<n>, fcfp<n> and atom_pair can")
    generator = fingerprint.generator(width)

    def environments(mol: Mol) -> Environments:
        output = rdFingerprintGenerator.AdditionalOutput()
        output.AllocateBitInfoMap()
        generator.GetCountFingerprint(mol, additionalOutput=output)
        return {column: [place(mol, *where) for where in places] for column, places in output.GetBitInfoMap().items()}

    return environments


def _pair(mol: Mol, first: int, second: int) -> tuple[int, ...]:
    return first, second


def _ball(mol: Mol, centre: int, radius: int) -> tuple[int, ...]:
    """The atoms within ``radius`` bonds of the centre, itself among them."""
    distances: dict[int, int] = {}
    FindAtomEnvironmentOfRadiusN(mol, radius, centre, atomMap=distances)
    return tuple(sorted({centre, *distances}))


# What RDKit keeps of an occurrence: centre and radius, or two atoms. Its list of the atoms themselves is missing in older versions.
_PLACES: dict[str, Callable[[Mol, int, int], tuple[int, ...]]] = {"ecfp": _ball, "fcfp": _ball, "atom_pair": _pair}
