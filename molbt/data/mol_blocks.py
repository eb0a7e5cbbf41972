"""MDL mol blocks to SMILES, in isolation: one that RDKit does not survive costs its own record."""

from collections.abc import Sequence
from itertools import chain

from molbt.data.isolation import isolating, map_blocks
from molbt.data.molecules import ParsePolicy, Refusal, canonical_smiles, parse_mol_block


def smiles_of_blocks(blocks: Sequence[str], *, is_part_of_more: bool = False) -> list[tuple[str, str]]:
    """Return canonical SMILES and ``""`` for each block, or ``""`` and the reason; ``is_part_of_more``: even few are isolated."""
    with isolating(is_part_of_more):
        return list(chain.from_iterable(map_blocks(read_blocks, blocks, ParsePolicy())))


def read_blocks(blocks: Sequence[str], policy: ParsePolicy) -> list[tuple[str, str]]:
    """The same in this process; the work of `map_blocks`."""
    return [("", str(block)) if isinstance(block, Refusal) else _read(block) for block in blocks]


def _read(block: str) -> tuple[str, str]:
    mol, reason = parse_mol_block(block)
    return ("", reason) if mol is None else (canonical_smiles(mol), "")
