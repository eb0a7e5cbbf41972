"""The regression objective against a hand calculation, and on real molecules."""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import Descriptors
from small_run import DESCRIPTORS, FINGERPRINTS, last_checkpoint, nci_smiles, small_config, small_corpus

from molbt.errors import ConfigError
from molbt.objectives.regression import Regression
from molbt.training.trainer import pretrain

VIEWS = {"fingerprint": FINGERPRINTS["a"], "descriptors": DESCRIPTORS}
PAIRS = [["fingerprint", "descriptors"]]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory):
    return small_corpus(tmp_path_factory.mktemp("regression") / "corpus")


def config(objective: dict, **trainer):
    return small_config(views=VIEWS, pairs=PAIRS, objectives=[objective], trainer=trainer)


@pytest.mark.parametrize("source", ["fingerprint", "descriptors"])
def test_descriptors_are_learned_from_a_fingerprint_and_from_masked_descriptors(corpus, tmp_path, source):
    objective = {"name": "regression", "source": source, "target": "descriptors"}
    metrics = pretrain(corpus, tmp_path / "run", config=config(objective, epochs=15)).metrics
    assert metrics["regression.explained"].iloc[-1] > 0.5
    assert metrics["regression.loss"].iloc[-1] < 0.5 * metrics["regression.loss"].iloc[0]
    assert last_checkpoint(tmp_path / "run")["objectives.regression.head.weight"].shape == (len(DESCRIPTORS["names"]), 16)


def test_targets_are_the_scaled_descriptors_before_masking(corpus, tmp_path):
    # One batch holds every molecule; loss / (1 − explained) is the mean square of the targets, here computed from RDKit's own numbers.
    objective = {"name": "regression", "source": "fingerprint", "target": "descriptors"}
    views = VIEWS | {"descriptors": DESCRIPTORS | {"mask": 0.9}}
    trainer = {"epochs": 1, "batch_size": 10_000}
    run = small_config(views=views, pairs=PAIRS, objectives=[objective], trainer=trainer)
    row = pretrain(corpus, tmp_path / "run", config=run).metrics.iloc[0]
    unique = dict.fromkeys(smiles for smiles in nci_smiles(280) if Chem.MolFromSmiles(smiles) is not None)
    mols = [Chem.MolFromSmiles(smiles) for smiles in unique]
    values = np.array([[dict(Descriptors.descList)[name](mol) for name in DESCRIPTORS["names"]] for mol in mols])
    low, centre, high = np.percentile(values, [25, 50, 75], axis=0)
    scaled = np.clip((values - centre) / ((high - low) / 1.349), -5, 5)
    assert row["regression.loss"] / (1 - row["regression.explained"]) == pytest.approx(np.mean(scaled**2), rel=1e-3)


def test_a_target_that_is_not_numeric_is_refused(corpus, tmp_path):
    with pytest.raises(ConfigError, match="modality descriptors"):
        pretrain(corpus, tmp_path / "run", config=config({"name": "regression", "source": "descriptors", "target": "fingerprint"}))


def test_regression_is_found_by_name():
    from molbt import registry

    assert registry.find("objectives", "regression") is Regression
