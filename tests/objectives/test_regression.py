"""The regression objective against a hand calculation, and on real molecules."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rdkit import Chem
from rdkit.Chem import Descriptors
from small_run import DESCRIPTORS, FINGERPRINTS, last_checkpoint, nci_smiles, small_config, small_corpus

from molbt.errors import ConfigError
from molbt.nn.dense_encoder import DenseEncoder
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


def loss_on_rank(rank: int, world_size: int, *, directory: str) -> tuple[dict[str, float], list[float]]:
    """Terms and gradient over a batch of seven rows that is spread unevenly over the ranks."""
    generator = torch.Generator().manual_seed(1)
    embedding, inputs = torch.randn(7, 4, generator=generator), torch.randn(7, 3, generator=generator)
    kept = torch.arange(7).tensor_split(world_size)[rank]
    encoder = DenseEncoder(embedding_dim=4, hidden=[4], winsorise=5.0, fitted={"centre": torch.zeros(3), "scale": torch.ones(3)})
    twin = SimpleNamespace(encoder_of=lambda view: encoder, embedding_dim=lambda view: 4)
    objective = Regression(source="a", target="b")
    objective.build(twin, pairs=[("a", "b")], n_tasks={})
    with torch.no_grad():
        objective.head.weight.copy_(torch.randn(3, 4, generator=generator))
        objective.head.bias.zero_()
    views = SimpleNamespace(embedding=lambda view: embedding[kept], original=lambda view: inputs[kept], n_rows=7)
    output = objective.step(twin, views, None)
    output.loss.backward()
    gradient = objective.head.weight.grad.clone()
    if world_size > 1:
        torch.distributed.all_reduce(gradient)
        gradient /= world_size
    return {name: float(term) for name, term in output.terms.items()}, gradient.flatten().tolist()


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_equal_one_process(on_ranks, tmp_path: Path, world_size):
    terms, gradient = loss_on_rank(0, 1, directory=str(tmp_path))
    for other_terms, other_gradient in on_ranks(loss_on_rank, world_size, directory=str(tmp_path)):
        assert other_terms == pytest.approx(terms, rel=1e-5)
        assert other_gradient == pytest.approx(gradient, rel=1e-5, abs=1e-7)
