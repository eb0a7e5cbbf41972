"""SMILES to molecules: the one place that parses.

A value that cannot be used gives ``None`` and a reason, never an exception, and RDKit's messages are silenced only while it reads it.
Cheap limits on the text come first, because some texts make RDKit hang or crash, and others make it read what was not written:
``[C+300]`` as a charge of +44, ``CCé`` as ``CC``, and ``CC extra`` as a molecule with a name.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import IntEnum
from functools import cache
from itertools import islice

from rdkit import Chem, rdBase
from rdkit.Chem import Mol
from rdkit.Chem.MolStandardize import rdMolStandardize
from rdkit.Chem.Scaffolds import MurckoScaffold

from molbt.errors import ConfigError, suggestion

# Numbers in brackets that RDKit would store in fewer bits than they need, and so read as others: [C+300] as [C+44], [CH256] as [C], [#300]
# as [Ru]. The limits are those of OpenSMILES: isotope and map number to 999, charge to ±15, hydrogens to 9, atomic number to 118.
_OUT_OF_RANGE = re.compile(r"\[(?=[^\[\]]*?(?:\d{4}|[+-](?:1[6-9]|[2-9]\d|\d{3})|H\d\d|#(?:119|1[2-9]\d|[2-9]\d\d)))[^\[\]]*\]?")
# Atoms of a SMILES: what stands in brackets, or the organic subset. Exact for a valid SMILES, which is all that the limit needs.
_ATOM = re.compile(r"\[[^\]]*\]|Br|Cl|[BCNOPSFIbcnops*]")
_HYDROGEN = re.compile(r"\[\d*H(?![a-z])[^\]]*\]")
_ODD_CHARACTER = re.compile(r"[^!-~]")
_PARSE_ERROR = re.compile(r"Parse Error: (.+?)(?: while parsing| for input)")
_PLACE = re.compile(r"around (position \d+)")
_LOG_NOISE = re.compile(r"^\[\d\d:\d\d:\d\d\]|\*{4}$")


class Perception(IntEnum):
    """What a parse finds out about a molecule; each level includes those before it.

    ``AROMATICITY``: atoms, bonds, valences, radicals, rings and aromaticity. ``HYBRIDISATION``: also conjugation and hybridisation.
    ``ALL``: what RDKit does by default; also stereochemistry.

    Whether a molecule is refused, and why, does not depend on it. Molecules of the lower levels come about 1.3 times as fast, and suit
    only work that is shown not to read what they lack: such work declares its level (``FingerprintKind.perception``).
    """

    AROMATICITY = 1
    HYBRIDISATION = 2
    ALL = 3


@dataclass(frozen=True)
class ParsePolicy:
    """How SMILES are read; part of every content address and saved with every model.

    Parameters
    ----------
    standardise : {"none", "largest_fragment", "neutral"}
        ``largest_fragment`` keeps the largest organic fragment; ``neutral`` does that and then removes charges where it can.
    max_length : int
        Longest SMILES, in characters.
    max_heavy_atoms : int
    max_seconds : float
        Longest time that one molecule may take, where molecules are worked on in isolation (``molbt.data.isolation``).

    Raises
    ------
    ConfigError
        If ``standardise`` is unknown, a limit is below 1, or the time is not above 0.
    """

    standardise: str = "none"
    max_length: int = 5_000
    max_heavy_atoms: int = 1_000
    max_seconds: float = 20.0

    def __post_init__(self) -> None:
        if self.standardise not in _STANDARDISERS:
            raise ConfigError(f"unknown value {self.standardise!r} of standardise{suggestion(self.standardise, _STANDARDISERS)}")
        for name in ("max_length", "max_heavy_atoms"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.max_seconds < float("inf"):
            raise ConfigError(f"max_seconds must be a number above 0, got {self.max_seconds}")

    @property
    def is_relaxed(self) -> bool:
        """Whether it lets molecules pass that the default limits refuse, among them such that RDKit hangs or crashes on."""
        return self.max_length > type(self).max_length or self.max_heavy_atoms > type(self).max_heavy_atoms

    def as_dict(self) -> dict[str, object]:
        settings = asdict(self)
        if self.max_seconds == type(self).max_seconds:  # corpora that are older than this limit keep their address
            del settings["max_seconds"]
        return settings


class Refusal(str):
    """Stands where a SMILES stood that must not be read again; its text is the reason."""


class ParsedSmiles(str):
    """A SMILES that carries what came of reading it; made by `parse_once`.

    Attributes
    ----------
    outcome : tuple of Mol or None and str
        As `parse_molecule` gives it. Several works share the molecule: they must not change it.
    policy, perception
        How it was read.
    """

    outcome: tuple[Mol | None, str]
    policy: ParsePolicy
    perception: Perception

    def serves(self, policy: ParsePolicy, perception: Perception) -> bool:
        """Return whether reading it again would give no other molecule, and find out no more."""
        return perception <= self.perception and (policy is self.policy or policy == self.policy)


def parse_once(values: Iterable[str], policy: ParsePolicy, perception: Perception) -> list[str]:
    """Read SMILES for several works that are to follow: those that read them in the same way, or find out less, parse no more."""
    texts = list(values)
    read: list[str] = []
    for text, outcome in zip(texts, parse_molecules(texts, policy, perception=perception), strict=True):
        if not isinstance(text, Refusal):
            text = ParsedSmiles(text)
            text.outcome, text.policy = outcome, policy
            text.perception = perception if _STANDARDISERS[policy.standardise] is _keep else Perception.ALL
        read.append(text)
    return read


def parse_molecule(smiles: object, policy: ParsePolicy) -> tuple[Mol | None, str]:
    """Read one SMILES.

    Parameters
    ----------
    smiles : str
        White space around it is ignored. Anything that is not a string (``None``, NaN) is refused like a bad string.
    policy : ParsePolicy

    Returns
    -------
    mol : Mol or None
        The sanitised and standardised molecule, or None if it was refused.
    reason : str
        ``""`` for a usable molecule, otherwise why not, in one short sentence. Positions in it count from 1.
    """
    if known := _known(smiles, policy, Perception.ALL):
        return known
    with rdBase.BlockLogs():
        return _read(Chem.MolFromSmiles, str(smiles).strip(), _STANDARDISERS[policy.standardise])


def parse_molecules(
    values: Iterable[object], policy: ParsePolicy, *, perception: Perception = Perception.ALL
) -> Iterator[tuple[Mol | None, str]]:
    """Read SMILES one after the other: one ``(mol, reason)`` per value, in order, as `parse_molecule` gives it.

    A ``perception`` below ``ALL`` suits work that does not read the rest; a policy that standardises needs it all and gets it.

    RDKit's messages are silenced until the iterator is exhausted or closed: opening that scope for each molecule would cost 7 % of the
    parse. Values are taken 64 at a time, because checks that run between two parses find cold caches and cost several times as much.
    """
    standardise = _STANDARDISERS[policy.standardise]
    reader = _READERS[perception if standardise is _keep else Perception.ALL]
    remaining = iter(values)
    with rdBase.BlockLogs():
        while block := list(islice(remaining, 64)):
            outcomes = [_known(value, policy, perception) for value in block]
            for value, known in zip(block, outcomes, strict=True):
                yield known or _read(reader, str(value).strip(), standardise)


def refusal_reasons(values: Iterable[object], policy: ParsePolicy) -> list[str]:
    """Return why each SMILES is refused, ``""`` where it is not."""
    return [reason for _, reason in parse_molecules(values, policy)]


def parse_mol_block(block: str) -> tuple[Mol | None, str]:
    """Read one MDL mol block (V2000 or V3000): the molecule and ``""``, or None and the reason."""
    with rdBase.BlockLogs():
        return _read(Chem.MolFromMolBlock, block, _keep)


def canonical_smiles(mol: Mol) -> str:
    """Return RDKit's canonical isomeric SMILES."""
    return Chem.MolToSmiles(mol)


def murcko_scaffold(mol: Mol) -> str:
    """Return the SMILES of the Bemis–Murcko scaffold without stereo: ring systems and their linkers, ``""`` for an acyclic molecule.

    References
    ----------
    Bemis and Murcko, "The Properties of Known Drugs. 1. Molecular Frameworks", J. Med. Chem. 1996, 39, 2887,
    https://doi.org/10.1021/jm9602928
    """
    return MurckoScaffold.MurckoScaffoldSmiles(mol=mol, includeChirality=False)


def _known(smiles: object, policy: ParsePolicy, perception: Perception) -> tuple[Mol | None, str] | None:
    """What comes of a value that need not be read: it was before, or a limit refuses it."""
    if isinstance(smiles, ParsedSmiles) and smiles.serves(policy, perception):
        return smiles.outcome
    reason = _limit_passed(smiles, policy)
    return (None, reason) if reason else None


def _limit_passed(smiles: object, policy: ParsePolicy) -> str:
    """The limits on the text, before RDKit sees it: why it is refused, or ``""``."""
    if not isinstance(smiles, str):
        return "not text"
    if type(smiles) is Refusal:
        return str(smiles)
    text = smiles.strip()
    if not text:
        return "blank"
    if len(text) > policy.max_length:
        return f"longer than {policy.max_length} characters"
    if " " in text or not (text.isascii() and text.isprintable()):
        odd = next(_ODD_CHARACTER.finditer(text))
        place = smiles.index(text) + odd.start() + 1
        return "whitespace inside" if odd.group().isspace() else f"non-printable or non-ASCII character at position {place}"
    if "[" in text and (bracket := _OUT_OF_RANGE.search(text)):
        return f"number out of range in {bracket.group():.40}"
    # An atom takes at least one character, so most texts are short enough without counting.
    if len(text) > policy.max_heavy_atoms and _count_heavy_atoms(text) > policy.max_heavy_atoms:
        return f"more than {policy.max_heavy_atoms} heavy atoms"
    return ""


def _count_heavy_atoms(smiles: str) -> int:
    return len(_ATOM.findall(smiles)) - len(_HYDROGEN.findall(smiles))


def _read(reader: Callable[..., Mol | None], text: str, standardise: Callable[[Mol], Mol]) -> tuple[Mol | None, str]:
    try:
        mol = reader(text)
        if mol is None:
            return None, _why_refused(reader, text)
        mol = standardise(mol)
    except (ValueError, RuntimeError) as error:  # a MolSanitizeException is a ValueError, other C++ exceptions arrive as RuntimeError
        return None, _summary(str(error))
    return (mol, "") if mol.GetNumAtoms() else (None, "no atoms")


def _partial_reader(operations: Chem.SanitizeFlags) -> Callable[..., Mol | None]:
    """Return a reader that does some operations of RDKit's sanitisation, in RDKit's order, and leaves out stereochemistry."""
    unsanitised = Chem.SmilesParserParams()
    unsanitised.sanitize = False  # type: ignore[assignment]  # RDKit's stubs give these flags a wrong type
    unsanitised.removeHs = False  # type: ignore[assignment]

    def read(text: str, sanitize: bool = True) -> Mol | None:
        mol = Chem.MolFromSmiles(text, unsanitised) if sanitize else None
        # What has hydrogens to remove, or is refused here, is RDKit's own reader's to decide; so are texts read again for a reason.
        is_plain = mol is not None and mol.GetNumHeavyAtoms() == mol.GetNumAtoms()
        if is_plain and Chem.SanitizeMol(mol, operations, catchErrors=True) == Chem.SANITIZE_NONE:
            return mol
        return Chem.MolFromSmiles(text, sanitize=sanitize)

    return read


def _why_refused(reader: Callable[..., Mol | None], text: str) -> str:
    """Read again, without sanitisation, to tell wrong syntax from wrong chemistry; the latter is raised."""
    mol = reader(text, sanitize=False)
    if mol is not None:
        Chem.SanitizeMol(mol)
        return "not readable"
    if not hasattr(rdBase, "CaptureErrorLog"):  # before RDKit 2026.03 the message can only go to stderr
        return "syntax error"
    with rdBase.CaptureErrorLog() as captured:
        reader(text, sanitize=False)
    error, place = _PARSE_ERROR.search(captured.messages), _PLACE.search(captured.messages)
    what = error.group(1) if error else _summary(captured.messages)
    return f"{what} around {place.group(1)}" if place else what


def _summary(message: str) -> str:
    """The first line of a message of RDKit's, or the first two of a failed check, whose rest is a stack trace; at most 160 characters."""
    lines = [line for line in (_LOG_NOISE.sub("", line).strip() for line in message.splitlines()) if line]
    summary = ": ".join(lines[: 2 if lines and lines[0].endswith("Violation") else 1]) or "not readable"
    return summary if len(summary) <= 160 else f"{summary[:157]}..."


def _keep(mol: Mol) -> Mol:
    return mol


def _largest_fragment(mol: Mol) -> Mol:
    return _fragment_chooser().choose(mol)


def _neutral(mol: Mol) -> Mol:
    return _uncharger().uncharge(_largest_fragment(mol))


@cache  # built on first use, in the process that uses it: these objects cannot be pickled
def _fragment_chooser() -> rdMolStandardize.LargestFragmentChooser:
    return rdMolStandardize.LargestFragmentChooser(preferOrganic=True)


@cache
def _uncharger() -> rdMolStandardize.Uncharger:
    return rdMolStandardize.Uncharger()


_STANDARDISERS: dict[str, Callable[[Mol], Mol]] = {
    "none": _keep,
    "largest_fragment": _largest_fragment,
    "neutral": _neutral,
}

_AROMATICITY = (
    Chem.SANITIZE_CLEANUP
    | Chem.SANITIZE_CLEANUP_ORGANOMETALLICS
    | Chem.SANITIZE_PROPERTIES
    | Chem.SANITIZE_SYMMRINGS
    | Chem.SANITIZE_KEKULIZE
    | Chem.SANITIZE_FINDRADICALS  # aromaticity depends on them: [C+] in a ring
    | Chem.SANITIZE_SETAROMATICITY
    | Chem.SANITIZE_ADJUSTHS
)
_READERS: dict[Perception, Callable[..., Mol | None]] = {
    Perception.AROMATICITY: _partial_reader(_AROMATICITY),
    Perception.HYBRIDISATION: _partial_reader(_AROMATICITY | Chem.SANITIZE_SETCONJUGATION | Chem.SANITIZE_SETHYBRIDIZATION),
    Perception.ALL: Chem.MolFromSmiles,
}
