"""Descriptors against RDKit called directly, their fitted scaling against NumPy and SciPy, and masking."""

from pathlib import Path

import numpy as np
import pytest
import torch
from rdkit import Chem, RDConfig
from rdkit.Chem import Descriptors as RDKitDescriptors
from scipy import stats

from molbt.data.columns import FixedColumn
from molbt.data.molecules import ParsePolicy
from molbt.draws import Draws
from molbt.modalities.descriptors import Descriptors

POLICY = ParsePolicy()
FEW = ("MolWt", "MolLogP", "fr_ester", "MaxEStateIndex")


def nci_smiles(n: int) -> list[str]:
    """Real molecules of RDKit's data directory that RDKit reads."""
    lines = (Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi").read_text().splitlines()
    smiles = [line.split()[0] for line in lines[:: len(lines) // (2 * n)] if line.split()]
    return [s for s in smiles if Chem.MolFromSmiles(s) is not None][:n]


SMILES = ["C", "[Na+].[Cl-]", "C[Pt]C", "N[C@@H](C)C(=O)O", "CC(=O)Oc1ccccc1C(=O)O", *nci_smiles(25)]


def column_of(values: list[list[float]]) -> dict[str, FixedColumn]:
    return {"values": FixedColumn.from_numpy(np.array(values, dtype=np.float32))}


def test_default_values_are_rdkits():
    modality = Descriptors()
    prepared = modality.prepare(SMILES, POLICY)
    found = modality.dense(prepared.columns, np.arange(len(SMILES)))
    rdkits = [RDKitDescriptors.CalcMolDescriptors(Chem.MolFromSmiles(s), missingVal=np.nan) for s in SMILES]
    expected = np.array([[values[name] for name in modality.names] for values in rdkits])
    expected[~np.isfinite(expected)] = np.nan
    assert found.dtype == np.float32
    assert np.array_equal(found, expected.astype(np.float32), equal_nan=True)
    assert np.isnan(found[2]).any()  # no partial charges for platinum


def test_default_list_leaves_out_the_slow_and_unstable():
    names = set(Descriptors().names)
    left_out = {name for name, _ in RDKitDescriptors.descList} - names
    assert {"qed", "SPS", "AvgIpc", "Ipc", "BCUT2D_MWHI", "BCUT2D_MRLOW"} <= left_out
    assert len(left_out) == 4 + 8
    assert {"MolWt", "TPSA", "fr_ester"} <= names


def test_the_list_itself_is_in_the_configuration():
    saved = Descriptors().model_dump(mode="json")
    assert len(saved["names"]) > 150
    assert Descriptors(**saved) == Descriptors()
    assert Descriptors(names=FEW).preparation()["names"] == list(FEW)
    assert "mask" not in Descriptors(mask=0.5).preparation()


def test_values_that_do_not_fit_float32_become_nan():
    chain = "C" * 200
    exact = RDKitDescriptors.CalcMolDescriptors(Chem.MolFromSmiles(chain))["Ipc"]
    assert exact > np.finfo(np.float32).max
    modality = Descriptors(names=("Ipc", "MolWt"))
    found = modality.dense(modality.prepare([chain], POLICY).columns, np.arange(1))[0]
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(200 * 12.011 + 402 * 1.008)


def test_a_refused_value_keeps_its_place_as_nan():
    modality = Descriptors(names=FEW)
    prepared = modality.prepare(["CCO", "C1CC", "CCO"], POLICY)
    assert prepared.valid.tolist() == [True, False, True]
    found = modality.dense(prepared.columns, np.arange(3))
    assert np.isnan(found[1]).all()
    assert np.array_equal(found[0], found[2])
    assert len(modality.prepare([], POLICY).columns["values"]) == 0


def test_entries_follow_the_order_of_the_values():
    modality = Descriptors(names=FEW)
    order = np.random.default_rng(0).permutation(len(SMILES))
    found = modality.prepare([SMILES[i] for i in order], POLICY).columns["values"].values
    assert np.array_equal(found.numpy(), modality.prepare(SMILES, POLICY).columns["values"].values.numpy()[order], equal_nan=True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"names": ("MolLogp",)}, "'MolLogp'.*closest: MolLogP"),
        ({"names": ()}, "one or more different"),
        ({"names": ("MolWt", "MolWt")}, "one or more different"),
        ({"winsorise": 0.0}, "greater than 0"),
        ({"mask": 1.0}, "less than 1"),
    ],
)
def test_wrong_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        Descriptors(**options)


def test_fit_is_robust_and_ignores_nan():
    rng = np.random.default_rng(0)
    values = rng.normal(3.0, 2.0, (500, 4)).astype(np.float32)
    values[:, 1] = 0
    values[:50, 1] = rng.integers(1, 5, 50)  # more than half are 0: no interquartile range
    values[:, 2] = 0.1  # constant
    values[::3, 0] = np.nan
    values[:, 3] = np.nan
    index = np.arange(100, 500)  # rows outside are not training rows
    values[:100, 0] = 1e6
    index = np.concatenate([index, np.arange(10, 20)])
    fitted = Descriptors(names=FEW).fit({"values": FixedColumn.from_numpy(values)}, index)
    taken = values[index].astype(np.float64)
    assert fitted["centre"][0] == pytest.approx(np.nanmedian(taken[:, 0]))
    assert fitted["scale"][0] == pytest.approx(stats.iqr(taken[:, 0], nan_policy="omit") / 1.349)
    assert fitted["centre"][1] == 0
    assert fitted["scale"][1] == pytest.approx(taken[:, 1].std())
    assert fitted["centre"][2] == np.float32(0.1)
    assert fitted["scale"][2] == 1
    assert (fitted["centre"][3], fitted["scale"][3]) == (0, 1)
    assert all(array.dtype == np.float32 for array in fitted.values())


def test_encoder_scales_clips_and_fills():
    modality = Descriptors(names=("MolWt", "MolLogP", "TPSA"), winsorise=2.0)
    columns = column_of([[1.0, 0.0, 5.0], [3.0, 100.0, np.nan], [5.0, -100.0, 7.0]])
    fitted = {"centre": torch.tensor([3.0, 0.0, 6.0]), "scale": torch.tensor([2.0, 1.0, 0.5])}
    encoder = modality.build_encoder(embedding_dim=4, fitted=fitted, hidden=(8,))
    batch = modality.collate(columns, torch.arange(3))
    expected = torch.tensor([[-1.0, 0.0, -2.0], [0.0, 2.0, 0.0], [1.0, -2.0, 2.0]])
    assert torch.equal(encoder.scale(batch), expected)
    assert {"fitted.centre", "fitted.scale"} <= set(encoder.state_dict())


def test_mask_hides_its_share_as_nan():
    modality = Descriptors(names=FEW, mask=0.3)
    batch = torch.randn(3000, 4, generator=torch.Generator().manual_seed(0))
    rows = torch.arange(3000)
    draws = Draws.for_rows(rows, seed=0, epoch=0, view="a")
    found = modality.augment(batch, draws)
    hidden = found.isnan()
    for share in hidden.float().mean(0).tolist():
        assert share == pytest.approx(0.3, abs=5 * (0.21 / 3000) ** 0.5)
    assert torch.equal(found[~hidden], batch[~hidden])
    assert not batch.isnan().any()
    assert torch.equal(Descriptors(names=FEW).augment(batch, draws), batch)
    # A row alone is masked as in the batch, whatever the order.
    alone = modality.augment(batch[7:8], Draws.for_rows(rows[7:8], seed=0, epoch=0, view="a"))
    assert torch.equal(alone.isnan()[0], hidden[7])
    assert torch.equal(modality.augment(batch.flip(0), draws.select(rows.flip(0))).isnan(), hidden.flip(0))
    later = modality.augment(batch, Draws.for_rows(rows, seed=0, epoch=1, view="a"))
    assert not torch.equal(later.isnan(), hidden)
