"""A modality that kills its process on marked molecules; worker processes import it."""

from collections.abc import Sequence

import numpy as np
from poison import suffer
from rdkit import Chem

from molbt.data.columns import FixedColumn
from molbt.data.molecules import ParsePolicy, parse_molecules
from molbt.modalities.base import Modality, Prepared


class Dying(Modality):
    """The number of atoms; dies in the last of its stages, after all molecules of the block were read."""

    def prepare(self, values: Sequence[str], policy: ParsePolicy) -> Prepared:
        parsed = list(parse_molecules(values, policy))
        for mol, _ in parsed:
            if mol is not None:
                suffer(Chem.MolToSmiles(mol))
        atoms = np.array([[np.nan if mol is None else mol.GetNumAtoms()] for mol, _ in parsed], dtype=np.float32).reshape(-1, 1)
        return Prepared({"values": FixedColumn.from_numpy(atoms)}, [reason for _, reason in parsed])

    def collate(self, columns, index):
        return columns["values"].gather(index)

    def augment(self, batch, draws):
        return batch

    def build_encoder(self, *, embedding_dim, fitted, hidden):
        raise NotImplementedError
