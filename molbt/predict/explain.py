"""What each block of features and each atom contributed to a prediction.

LightGBM: the contributions of its columns (SHAP values of the trees), which add up to the prediction. Any head on counts: the change of
the prediction when the features that touch an atom are taken away, which does not add up to anything.

References
----------
Lundberg et al., "From local explanations to global understanding with explainable AI for trees", Nature Machine Intelligence 2 (2020)
56–67, https://doi.org/10.1038/s42256-019-0138-9
Riniker and Landrum, "Similarity maps – a visualization strategy for molecular fingerprints and machine-learning methods", J. Cheminform. 5
(2013) 43, https://doi.org/10.1186/1758-2946-5-43
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from rdkit.Chem import Mol
from scipy import sparse

from molbt.data.molecules import ParsePolicy, parse_molecules
from molbt.errors import ConfigError, DataError, ShapeError, suggestion
from molbt.predict.atom_environments import Environments, environments_of
from molbt.predict.boosting import LightGBM
from molbt.predict.features import COUNT_KINDS, FeatureSet
from molbt.predict.head import Head

BASE, ALL_COUNTS = "base", "counts"
"""In the column ``block``: the prediction before any feature is known, and all blocks of counts together."""

COLUMNS = ("row", "block", "atom", "contribution")
METHODS = ("auto", "contributions", "masking")
LARGEST_COUNT = 255
"""What the fingerprint modality stores of a count."""

_Term = tuple[str, int | None, float]
"""Block, atom or None, contribution."""


@dataclass(frozen=True)
class Explanation:
    """Contributions to the predictions of some rows.

    Parameters
    ----------
    frame : DataFrame
        ``row``; ``block``: the name of a block of features, ``"base"``, or ``"counts"`` for all blocks of counts at once; ``atom`` (Int64):
        index in the molecule of that row, missing for what belongs to no atom (dense blocks, and features that the molecule does not have);
        ``contribution``, in units of the label, or log-odds of class 1 for boosted classes, or its probability for other heads.
        A refused row has no line.
    predictions : ndarray of shape (n,), float64
        On the scale of the contributions; NaN where the row was refused.
    molecules : list of n (Mol or None)
        Whose atoms ``atom`` counts.
    scale : {"value", "log-odds", "probability"}
    additive : bool
        Whether the contributions of a row add up to its prediction.
    """

    frame: pd.DataFrame
    predictions: np.ndarray
    molecules: list[Mol | None]
    scale: str
    additive: bool

    def by_block(self) -> pd.DataFrame:
        """Return the sum of each block, one line per row that was explained; it means something where they are additive."""
        return self.frame.pivot_table(index="row", columns="block", values="contribution", aggfunc="sum", sort=False, fill_value=0.0)

    def caption(self, row: int) -> list[str]:
        """Return two lines that say what the contributions of a row mean, for a drawing of its atoms.

        Raises
        ------
        ShapeError
            As in ``atoms_of``.
        """
        on_atoms = self.atoms_of(row).sum()
        unit = "" if self.scale == "value" else f" ({self.scale} of class 1)"
        start = f"prediction{unit} {self.predictions[row]:.3g}"
        if not self.additive:
            return [start, "colour: change of the prediction when the atom's features are taken away"]
        base = self.frame.loc[(self.frame["row"] == row) & (self.frame["block"] == BASE), "contribution"].sum()
        rest = self.predictions[row] - base - on_atoms
        return [start, f"= base {base:.3g} {on_atoms:+.3g} on atoms {rest:+.3g} on none (absent or dense features)"]

    def atoms_of(self, row: int) -> np.ndarray:
        """Return the sum over blocks for each atom of the molecule in ``row``: ``(n_atoms,)`` float64.

        Raises
        ------
        ShapeError
            If there is no such row, or its molecule was refused.
        """
        molecule = self.molecules[row] if 0 <= row < len(self.molecules) else None
        if molecule is None:
            raise ShapeError(f"row {row} of {len(self.molecules)} has no molecule to explain; choose a row with a prediction")
        lines = self.frame[(self.frame["row"] == row) & self.frame["atom"].notna()]
        return np.bincount(lines["atom"].to_numpy(np.int64), lines["contribution"], minlength=molecule.GetNumAtoms())


def explain(
    head: Head, features: FeatureSet, smiles: Sequence[str], *, method: str = "auto", policy: ParsePolicy | None = None
) -> Explanation:
    """Explain the predictions of a fitted head.

    Parameters
    ----------
    head : Head
    features : FeatureSet of n rows
        What the predictions are made from.
    smiles : sequence of n str
        The molecules of these rows.
    method : {"auto", "contributions", "masking"}
        ``contributions``: LightGBM only. ``masking``: any head, but only with counts among the features. ``auto``: contributions where
        they can be had.
    policy : ParsePolicy, optional
        As for the features: atoms are counted in the standardised molecule.

    Returns
    -------
    Explanation

    Raises
    ------
    ConfigError
        If the method is unknown or does not go with the head, or features without counts are to be masked.
    DataError
        If the head knows one label only.
    ShapeError
        If the SMILES are of another number, or not the molecules that the features were made from; or as `Head.predict` does.

    Notes
    -----
    Contributions: that of a count column is spread equally over the places where the feature occurs in the molecule, and at each place
    equally over its atoms. What a column contributes because the feature is *absent* belongs to no atom, and is often most of the
    difference to the base value. Masking: an atom's contribution is the prediction minus that without the features that touch the atom,
    over all blocks of counts; dense blocks stay as they are, so what they know of the atom is not in it.
    """
    if len(smiles) != features.n_rows:
        raise ShapeError(f"expected one SMILES for each of {features.n_rows} rows, received {len(smiles)}")
    traceable = [name for name in features.sparse_blocks if name in COUNT_KINDS]
    if method not in METHODS:
        raise ConfigError(f"unknown method {method!r}{suggestion(method, METHODS)}")
    boosted = isinstance(head, LightGBM) and method != "masking"
    if method == "contributions" and not boosted:
        raise ConfigError(f"contributions are those of the trees of 'lightgbm', received the head {head.name!r}; use method='masking'")
    if not boosted and not traceable:
        raise ConfigError(
            f"the head {head.name!r} is explained by masking counts ({', '.join(COUNT_KINDS)}), received the blocks "
            f"{', '.join(features.blocks)}; use the head 'lightgbm', or add counts to the features"
        )
    predictions = head.predict(features)
    if head.constant_ is not None:
        raise DataError(f"the head predicts {head.constant_:g}, the one label of its training rows, for any molecule; nothing explains it")
    # What the features could not use is not read again: it may be what RDKit does not survive.
    readable = [text if valid else "" for text, valid in zip(smiles, features.valid, strict=True)]
    molecules = [mol for mol, _ in parse_molecules(readable, policy or ParsePolicy())]
    places = _places(features, traceable, molecules, smiles)
    explained = np.flatnonzero(features.valid)
    if isinstance(head, LightGBM) and boosted:
        blocks, base = _column_contributions(head, features.rows(explained))
        predictions[explained] = base + sum(np.asarray(block.sum(axis=1)).ravel() for block in blocks.values())
        terms = [_boosted_terms({name: block[[i]] for name, block in blocks.items()}, base[i], places[i]) for i in range(len(explained))]
    else:
        terms = [
            _masked_terms(head, features.rows(np.array([row])), predictions[row], places[i], molecules[row])
            for i, row in enumerate(explained)
        ]
    lines = [(row, *term) for row, of_row in zip(explained, terms, strict=True) for term in of_row]
    frame = pd.DataFrame(lines, columns=list(COLUMNS)).astype({"row": "int64", "atom": "Int64", "contribution": "float64"})
    classes = "log-odds" if boosted else "probability"
    molecules = [mol if valid else None for mol, valid in zip(molecules, features.valid, strict=True)]
    return Explanation(frame, predictions, molecules, "value" if head.task_type == "regression" else classes, boosted)


def _places(
    features: FeatureSet, names: Sequence[str], molecules: Sequence[Mol | None], smiles: Sequence[str]
) -> list[dict[str, Environments]]:
    """For each valid row and block of counts, where its features occur; they must be the features of that row."""
    tracers = {name: environments_of(name, features.widths[name]) for name in names}
    places = []
    for row in np.flatnonzero(features.valid).tolist():
        mol = molecules[row]
        of_row = {name: tracer(mol) for name, tracer in tracers.items()} if mol is not None else {}
        for name in names:
            if sorted(of_row.get(name, ())) != sorted(features.sparse_blocks[name][[row]].indices.tolist()):
                raise ShapeError(
                    f"the block {name!r} of row {row} does not hold the features of its molecule {smiles[row]!r}; pass the SMILES and the "
                    "policy that the features were built with"
                )
        places.append(of_row)
    return places


def _column_contributions(head: LightGBM, features: FeatureSet) -> tuple[dict[str, sparse.csr_array], np.ndarray]:
    """The contribution of every column of each block, and the base value of each row."""
    matrix = features.matrix()[:, head.columns_]
    # LightGBM knows SciPy's matrices, not its arrays. It answers sparse rows with sparse contributions, in the precision of the rows.
    rows = (matrix if isinstance(matrix, np.ndarray) else sparse.csr_matrix(matrix)).astype(np.float64)
    found = sparse.csr_array(head.booster_.predict(rows, pred_contrib=True, num_threads=head.n_jobs))
    used = found[:, :-1]
    widths = features.widths
    columns = sparse.csr_array((used.data, head.columns_[used.indices], used.indptr), shape=(features.n_rows, sum(widths.values())))
    starts = np.cumsum([0, *widths.values()])
    blocks = {name: columns[:, start : start + width] for (name, width), start in zip(widths.items(), starts, strict=False)}
    return blocks, found[:, [-1]].toarray().ravel()


def _boosted_terms(blocks: dict[str, sparse.csr_array], base: float, places: dict[str, Environments]) -> list[_Term]:
    terms: list[_Term] = [(BASE, None, base)]
    for name, block in blocks.items():
        on_atoms: dict[int, float] = {}
        rest = 0.0
        for column, contribution in zip(block.indices.tolist(), block.data.tolist(), strict=True):
            occurrences = places.get(name, {}).get(column)
            if occurrences is None:
                rest += contribution
                continue
            for atoms in occurrences:
                for atom in atoms:
                    on_atoms[atom] = on_atoms.get(atom, 0.0) + contribution / len(occurrences) / len(atoms)
        terms += [(name, atom, on_atoms[atom]) for atom in sorted(on_atoms)]
        terms.append((name, None, rest))
    return terms


def _masked_terms(head: Head, features: FeatureSet, prediction: float, places: dict[str, Environments], mol: Mol | None) -> list[_Term]:
    n_atoms = mol.GetNumAtoms() if mol is not None else 0
    repeated = features.rows(np.zeros(n_atoms, dtype=np.int64))
    masked = {name: _without_each_atom(of_block, n_atoms, features.widths[name]) for name, of_block in places.items()}
    changes = prediction - head.predict(FeatureSet(features.name, repeated.blocks | masked, repeated.valid))
    return [(ALL_COUNTS, atom, float(change)) for atom, change in enumerate(changes)]


def _without_each_atom(environments: Environments, n_atoms: int, width: int) -> sparse.csr_array:
    """One row per atom: the counts of the features that do not touch it."""
    columns = np.array(sorted(environments), dtype=np.int32)  # scikit-learn's forest takes no wider indices
    counts = np.zeros((n_atoms, len(columns)))
    for position, column in enumerate(columns.tolist()):
        counts[:, position] = len(environments[column])
        for atoms in environments[column]:
            counts[sorted(set(atoms)), position] -= 1
    kept = sparse.coo_array(np.minimum(counts, LARGEST_COUNT).astype(np.float32))
    return sparse.csr_array((kept.data, (kept.row, columns[kept.col])), shape=(n_atoms, width))
