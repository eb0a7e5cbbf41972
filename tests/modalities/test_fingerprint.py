"""Fingerprints against RDKit called directly, and the statistics of their augmentations."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rdkit import Chem, RDConfig
from rdkit.Avalon import pyAvalonTools
from rdkit.Chem import rdFingerprintGenerator, rdMolDescriptors

from molbt.data.molecules import ParsePolicy
from molbt.draws import Draws
from molbt.modalities.fingerprint import Fingerprint

POLICY = ParsePolicy()
ODD = [
    "C",  # one atom: no pairs, no torsions
    "[Na+].[Cl-]",
    "N[C@@H](C)C(=O)O",
    "N[C@H](C)C(=O)O",
    "C/C=C/C",
    "[2H]C([2H])([2H])O",
    "[H][H]",
    "O=[N+]([O-])c1ccccc1",
    "C1CC2CC1C2",
    "[Fe]",
    "c1ccc2[nH]ccc2c1",
    "CC(=O)Oc1ccccc1C(=O)O",
]


def nci_smiles(n: int) -> list[str]:
    """Real molecules of RDKit's data directory that RDKit reads."""
    lines = (Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi").read_text().splitlines()
    smiles = [line.split()[0] for line in lines[:: len(lines) // (2 * n)] if line.split()]
    return [s for s in smiles if Chem.MolFromSmiles(s) is not None][:n]


SMILES = ODD + nci_smiles(60)

morgan = rdFingerprintGenerator.GetMorganGenerator
features = rdFingerprintGenerator.GetMorganFeatureAtomInvGen
RDKIT = {
    "ecfp0": lambda width: morgan(radius=0, fpSize=width),
    "ecfp4": lambda width: morgan(radius=2, fpSize=width),
    "ecfp6": lambda width: morgan(radius=3, fpSize=width),
    "ecfp4_chiral": lambda width: morgan(radius=2, fpSize=width, includeChirality=True),
    "fcfp4": lambda width: morgan(radius=2, fpSize=width, atomInvariantsGenerator=features()),
    "atom_pair": lambda width: rdFingerprintGenerator.GetAtomPairGenerator(fpSize=width),
    "atom_pair_chiral": lambda width: rdFingerprintGenerator.GetAtomPairGenerator(fpSize=width, includeChirality=True),
    "topological_torsion": lambda width: rdFingerprintGenerator.GetTopologicalTorsionGenerator(fpSize=width),
    "rdkit_path": lambda width: rdFingerprintGenerator.GetRDKitFPGenerator(fpSize=width),
}


def matrix(modality: Fingerprint, smiles: list[str]) -> np.ndarray:
    return modality.dense(modality.prepare(smiles, POLICY).columns, np.arange(len(smiles))).toarray()


def batch_of(modality: Fingerprint, smiles: list[str]):
    return modality.collate(modality.prepare(smiles, POLICY).columns, torch.arange(len(smiles)))


def draws_of(n: int, *, seed: int = 0, epoch: int = 0) -> Draws:
    return Draws.for_rows(torch.arange(n), seed=seed, epoch=epoch, view="a")


@pytest.mark.parametrize("width", [1024, 1000, 70_000])
@pytest.mark.parametrize("kind", RDKIT)
def test_counts_and_bits_of_one_kind_are_rdkits(kind, width):
    generator = RDKIT[kind](width)
    mols = [Chem.MolFromSmiles(s) for s in SMILES]
    counts = np.array([generator.GetCountFingerprintAsNumPy(mol) for mol in mols])
    assert np.array_equal(matrix(Fingerprint(kinds=(kind,), width=width), SMILES), np.minimum(counts, 255))
    bits = np.array([generator.GetFingerprintAsNumPy(mol) for mol in mols])
    assert np.array_equal(matrix(Fingerprint(kinds=(kind,), width=width, counts=False), SMILES), bits)


def test_maccs_keys_are_rdkits_at_their_own_width():
    expected = np.array([list(rdMolDescriptors.GetMACCSKeysFingerprint(Chem.MolFromSmiles(s))) for s in SMILES])
    for counts in (True, False):
        assert np.array_equal(matrix(Fingerprint(kinds=("maccs",), counts=counts), SMILES), expected)


def test_avalon_is_rdkits():
    mols = [Chem.MolFromSmiles(s) for s in SMILES]
    expected = np.zeros((len(mols), 512))
    for row, mol in enumerate(mols):
        for feature, count in pyAvalonTools.GetAvalonCountFP(mol, 512).GetNonzeroElements().items():
            expected[row, feature] = count
    assert np.array_equal(matrix(Fingerprint(kinds=("avalon",), width=512), SMILES), np.minimum(expected, 255))
    bits = np.array([list(pyAvalonTools.GetAvalonFP(mol, 512)) for mol in mols])
    assert np.array_equal(matrix(Fingerprint(kinds=("avalon",), width=512, counts=False), SMILES), bits)


def test_kinds_are_concatenated_in_blocks():
    # 2048 - 167 leaves 1881 for two kinds: 940 each, rounded down to 936.
    modality = Fingerprint(kinds=("ecfp4", "maccs", "atom_pair"), width=2048)
    assert modality.input_dim == 936 + 167 + 936
    together = matrix(modality, SMILES)
    assert np.array_equal(together[:, :936], matrix(Fingerprint(kinds=("ecfp4",), width=936), SMILES))
    assert np.array_equal(together[:, 936:1103], matrix(Fingerprint(kinds=("maccs",)), SMILES))
    assert np.array_equal(together[:, 1103:], matrix(Fingerprint(kinds=("atom_pair",), width=936), SMILES))


def test_chirality_tells_enantiomers_apart():
    pair = ["N[C@@H](C)C(=O)O", "N[C@H](C)C(=O)O"]
    for kind in ("ecfp4", "fcfp4", "atom_pair", "topological_torsion"):
        left, right = matrix(Fingerprint(kinds=(kind,)), pair)
        assert np.array_equal(left, right)
        left, right = matrix(Fingerprint(kinds=(f"{kind}_chiral",)), pair)
        assert not np.array_equal(left, right)


def test_counts_saturate_at_255():
    chain = "C" * 400
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    expected = generator.GetCountFingerprintAsNumPy(Chem.MolFromSmiles(chain))
    assert expected.max() == 398  # CH2 as an atom
    found = matrix(Fingerprint(kinds=("ecfp4",), width=1024), [chain])[0]
    assert found.max() == 255
    assert np.array_equal(found, np.minimum(expected, 255))


def test_storage_is_ragged_sorted_and_as_small_as_promised():
    small, large = Fingerprint(width=1 << 16), Fingerprint(width=1 << 17)
    for modality, dtype in ((small, np.uint16), (large, np.uint32)):
        column = modality.prepare(SMILES, POLICY).columns["features"]
        arrays = column.arrays()
        assert arrays["field.id"].dtype == dtype
        assert arrays["field.count"].dtype == np.uint8
        for start, end in zip(arrays["offsets"][:-1], arrays["offsets"][1:], strict=True):
            assert (np.diff(arrays["field.id"][start:end].astype(np.int64)) > 0).all()
        assert modality.collate({"features": column}, torch.arange(len(SMILES))).ids.max() < modality.input_dim
    bits = Fingerprint(counts=False).prepare(SMILES, POLICY).columns["features"].arrays()
    assert set(bits) == {"offsets", "field.id"}


def test_a_refused_value_keeps_its_place_and_says_why():
    modality = Fingerprint()
    prepared = modality.prepare(["CCO", "C1CC", "", "CCO"], POLICY)
    assert prepared.valid.tolist() == [True, False, False, True]
    assert prepared.reasons[1]
    assert prepared.reasons[2]
    rows = modality.dense(prepared.columns, np.arange(4)).toarray()
    assert not rows[1].any()
    assert not rows[2].any()
    assert np.array_equal(rows[0], rows[3])
    assert rows[0].any()


def test_nothing_to_prepare_gives_empty_columns():
    prepared = Fingerprint().prepare([], POLICY)
    assert len(prepared.columns["features"]) == 0
    assert prepared.reasons == []


def test_entries_do_not_depend_on_their_neighbours():
    modality = Fingerprint(width=2048)
    many = (SMILES * 20)[:1100]  # more than one chunk
    together = matrix(modality, many)
    assert np.array_equal(together[: len(SMILES)], np.concatenate([matrix(modality, [s]) for s in SMILES]))
    order = np.random.default_rng(0).permutation(len(many))
    assert np.array_equal(matrix(modality, [many[i] for i in order]), together[order])


@pytest.mark.parametrize("options", [{}, {"transform": "count"}, {"counts": False}])
def test_collate_gathers_transformed_counts(options):
    modality = Fingerprint(width=1024, **options)
    prepared = modality.prepare(SMILES, POLICY)
    index = torch.tensor([5, 0, 5, 11])
    raw = modality.dense(prepared.columns, index.numpy()).toarray()
    batch = modality.collate(prepared.columns, index)
    expected = np.log1p(raw) if not options else raw
    np.testing.assert_allclose(batch.to_dense().numpy(), expected, rtol=1e-6)
    assert batch.weights.dtype == torch.float32
    assert batch.n_rows == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kinds": ("ecfp5",)}, "even diameter.*ecfp4 or ecfp6"),
        ({"kinds": ("atom_pairs",)}, "did you mean 'atom_pair'"),
        ({"kinds": ("maccs_chiral",)}, "unknown fingerprint kind"),
        ({"kinds": ()}, "one or more different"),
        ({"kinds": ("maccs", "maccs")}, "one or more different"),
        ({"kinds": ("maccs",), "width": 100}, "raise width"),
        ({"kinds": ("ecfp4", "maccs"), "width": 190}, "raise width"),
        ({"counts": False, "count_noise": 0.1}, "count_noise needs counts"),
        ({"kinds": ("ecfp4",), "drop_kind": 0.5}, "two or more kinds"),
        ({"drop": 1.0}, "less than 1"),
        ({"dropp": 0.1}, "Extra inputs"),
    ],
)
def test_wrong_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        Fingerprint(**options)


def test_augmentations_are_not_part_of_the_preparation():
    plain, changed = Fingerprint(), Fingerprint(drop=0.2, count_noise=0.1, flip=2, drop_kind=0.3)
    assert plain.preparation() == changed.preparation()
    assert plain.preparation() != Fingerprint(width=4096).preparation()


# Augmentations: a large batch of one molecule many times shows the statistics, since every row has draws of its own.
MANY = 4000


def repeated(modality: Fingerprint, smiles: str = "CC(=O)Oc1ccccc1C(=O)O", n: int = MANY):
    prepared = modality.prepare([smiles], POLICY)
    return modality.collate(prepared.columns, torch.zeros(n, dtype=torch.int64))


def test_without_options_nothing_changes():
    modality = Fingerprint()
    batch = repeated(modality, n=4)
    assert torch.equal(modality.augment(batch, draws_of(4)).to_dense(), batch.to_dense())


def test_drop_leaves_out_its_share():
    modality = Fingerprint(width=1024, drop=0.15)
    batch = repeated(modality)
    found = modality.augment(batch, draws_of(MANY))
    n = len(batch.ids)
    assert len(found.ids) / n == pytest.approx(0.85, abs=5 * (0.15 * 0.85 / n) ** 0.5)
    before, after = batch.to_dense(), found.to_dense()
    assert torch.equal(after[after != 0], before[after != 0])  # what stays is unchanged


def test_count_noise_is_uniform_and_keeps_counts_at_one():
    smiles = "C" * 41  # CH2 occurs 39 times
    for transform in ("log1p", "count"):
        modality = Fingerprint(kinds=("ecfp4",), width=1024, count_noise=0.3, transform=transform)
        batch = repeated(modality, smiles)
        found = modality.augment(batch, draws_of(MANY))
        assert torch.equal(found.ids, batch.ids)
        undo = torch.expm1 if transform == "log1p" else torch.clone
        before, after = undo(batch.weights), undo(found.weights)
        ratio = (after / before)[before > 30]
        assert ratio.mean().item() == pytest.approx(1.0, abs=5 * 0.3 / (3 * len(ratio)) ** 0.5)
        assert ratio.std().item() == pytest.approx(0.3 / 3**0.5, rel=0.03)
        assert 0.7 <= ratio.min() < 0.71
        assert 1.29 < ratio.max() <= 1.3001
        assert after.min() >= 1 - 1e-5


@pytest.mark.parametrize("expected", [0.5, 3.0, 40.0])
def test_flip_switches_on_absent_features(expected):
    modality = Fingerprint(width=512, flip=expected)
    batch = repeated(modality)
    found = modality.augment(batch, draws_of(MANY))
    before, after = batch.to_dense(), found.to_dense()
    assert torch.equal(after[before != 0], before[before != 0])
    assert torch.allclose(after[(before == 0) & (after != 0)], torch.tensor(1.0).log1p())
    # 2⌈flip⌉ slots used with probability flip / 2⌈flip⌉; each misses a given feature with 1 − p / 512: the mean number of absent hit.
    slots = 2 * int(np.ceil(expected))
    hit = 1 - (1 - expected / slots / 512) ** slots
    n_absent = int((before[0] == 0).sum())
    added = (after != 0).sum(1) - (before != 0).sum(1)
    assert added.float().mean().item() == pytest.approx(n_absent * hit, abs=5 * (expected / MANY) ** 0.5)
    on = (after != 0)[:, before[0] == 0].float().mean(0)
    assert on.max() < hit + 6 * (hit / MANY) ** 0.5  # no feature is favoured
    key = found.row_of_item * 512 + found.ids
    assert (key.diff() > 0).all()  # ids rise within a row, none twice


def test_flip_does_not_bring_a_dropped_feature_back():
    modality = Fingerprint(width=512, flip=200.0, drop=0.5)
    batch = repeated(modality, n=200)
    plain = Fingerprint(width=512, drop=0.5).augment(batch, draws_of(200)).to_dense()
    found = modality.augment(batch, draws_of(200)).to_dense()
    occurred = batch.to_dense() != 0
    assert torch.equal(found[occurred], plain[occurred])
    assert (found[~occurred] != 0).any()


def test_drop_kind_leaves_out_one_kind_as_a_whole():
    modality = Fingerprint(kinds=("ecfp4", "atom_pair", "maccs"), width=2048, drop_kind=0.6)
    batch = repeated(modality)
    found = modality.augment(batch, draws_of(MANY)).to_dense()
    blocks = [slice(0, 936), slice(936, 1872), slice(1872, 2039)]
    gone = torch.stack([(found[:, block] == 0).all(1) for block in blocks], dim=1)
    whole = torch.stack([(found[:, block] == batch.to_dense()[:, block]).all(1) for block in blocks], dim=1)
    assert (gone | whole).all()
    assert gone.sum(1).max() == 1
    for share in gone.float().mean(0).tolist():
        assert share == pytest.approx(0.2, abs=5 * (0.16 / MANY) ** 0.5)


ALL = {"drop": 0.3, "count_noise": 0.4, "flip": 3.0, "drop_kind": 0.5}


def test_augmentation_of_a_row_depends_on_the_row_alone():
    modality = Fingerprint(width=1024, **ALL)
    prepared = modality.prepare(SMILES, POLICY)
    rows = torch.arange(len(SMILES))
    draws = Draws.for_rows(rows, seed=3, epoch=2, view="a")
    together = modality.augment(modality.collate(prepared.columns, rows), draws).to_dense()
    for row in rows:
        one = row.reshape(1)
        alone = modality.augment(modality.collate(prepared.columns, one), Draws.for_rows(one, seed=3, epoch=2, view="a"))
        assert torch.equal(alone.to_dense()[0], together[row])
    order = torch.randperm(len(SMILES), generator=torch.Generator().manual_seed(0))
    permuted = modality.augment(modality.collate(prepared.columns, order), draws.select(order))
    assert torch.equal(permuted.to_dense(), together[order])


@pytest.mark.parametrize("option", ALL)
def test_augmentation_changes_with_the_epoch(option):
    modality = Fingerprint(width=1024, **{option: ALL[option]})
    batch = batch_of(modality, SMILES)
    first, again, later = (modality.augment(batch, draws_of(len(SMILES), epoch=epoch)).to_dense() for epoch in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    assert not torch.equal(first, batch.to_dense())


def test_augmenting_leaves_the_batch_alone_and_takes_empty_rows():
    modality = Fingerprint(width=1024, **ALL)
    batch = batch_of(modality, ["CCO", "not a molecule", "C"])
    copy = replace(batch, weights=batch.weights.clone(), ids=batch.ids.clone())
    found = modality.augment(batch, draws_of(3))
    assert torch.equal(copy.to_dense(), batch.to_dense())
    assert found.n_rows == 3
    assert found.offsets[-1] == len(found.ids)
