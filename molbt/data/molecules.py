"""SMILES to molecules: the one place that parses."""

from dataclasses import asdict, dataclass


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
    """

    standardise: str = "none"
    max_length: int = 5_000
    max_heavy_atoms: int = 1_000

    def as_dict(self) -> dict[str, object]:
        return asdict(self)
