"""The encoder that is saved with a predictor keeps the record of what it saw."""

import shutil

import numpy as np
import pytest

from molbt import Predictor
from molbt.data.identity import molecule_and_scaffold_hashes
from molbt.data.molecules import ParsePolicy
from molbt.data.seen_molecules import SeenMolecules
from molbt.errors import CheckpointError
from molbt.model.checkpoint import find_model

LABELS = np.arange(24.0)


def test_the_copy_has_the_record_and_notices_when_it_changes(tmp_path, tiny_run, nci_smiles):
    predictor = Predictor(head="ridge", features="embedding", model=tiny_run, calibration=None, applicability=False)
    predictor.fit(nci_smiles[:24], LABELS).save(tmp_path / "p")
    copied, original = SeenMolecules.load(tmp_path / "p" / "model"), SeenMolecules.load(find_model(tiny_run))
    assert copied is not None
    np.testing.assert_array_equal(copied.molecules, original.molecules)
    np.testing.assert_array_equal(copied.scaffolds, original.scaffolds)
    record = tmp_path / "p" / "model" / "seen_molecules.npy"
    record.write_bytes(record.read_bytes()[:-8] + bytes(8))
    with pytest.raises(CheckpointError, match=r"seen_molecules.npy is damaged"):
        Predictor.load(tmp_path / "p")


def test_an_encoder_without_a_record_is_saved_without(tmp_path, tiny_run, nci_smiles):
    shutil.copytree(find_model(tiny_run), tmp_path / "model")
    for file in (tmp_path / "model").glob("seen_*.npy"):
        file.unlink()
    predictor = Predictor(head="ridge", features="embedding", model=tmp_path / "model", calibration=None, applicability=False)
    predictor.fit(nci_smiles[:24], LABELS).save(tmp_path / "p")
    assert SeenMolecules.load(tmp_path / "p" / "model") is None
    Predictor.load(tmp_path / "p")


def test_a_fine_tuned_encoder_has_seen_the_labelled_molecules_too(tmp_path, tiny_run, nci_smiles):
    new = ["FC(F)(F)CCCCCCCCBr", "ClCCCCCCCCCCCCCCCI", *nci_smiles[:22]]
    labels = np.where(np.arange(24) == 1, np.nan, LABELS)
    predictor = Predictor(model=tiny_run, finetune={"epochs": 1}, calibration=None, applicability=False).fit(new, labels)
    predictor.save(tmp_path / "p")
    seen = set(SeenMolecules.load(tmp_path / "p" / "model").molecules.tolist())
    before = set(SeenMolecules.load(find_model(tiny_run)).molecules.tolist())
    learned, unlabelled = molecule_and_scaffold_hashes(new[:2], ParsePolicy())[:, 0].tolist()
    assert before <= seen
    assert learned in seen - before
    assert unlabelled not in seen
