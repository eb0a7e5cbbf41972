"""Several crops of one molecule, and views of other molecules that share its encoder: neighbours and hard negatives."""

import pandas as pd
import pytest
from small_run import FINGERPRINTS, nci_smiles, small_config

from molbt.errors import ConfigError
from molbt.model.twin_model import TwinModel
from molbt.training.trainer import pretrain

CROPS = {
    **FINGERPRINTS,
    "c": {"like": "a", "drop": 0.5},
    "d": {"like": "a", "drop": 0.5},
}
GLOBAL_TO_ALL = [["a", "b"], ["a", "c"], ["a", "d"], ["b", "c"], ["b", "d"]]
BARLOW_TWINS = {"name": "barlow_twins", "redundancy_weight": 8.0}
OTHER = {**FINGERPRINTS["a"], "column": "other"}


@pytest.fixture
def table() -> pd.DataFrame:
    smiles = nci_smiles(200)
    return pd.DataFrame({"smiles": smiles, "other": [*smiles[1:], smiles[0]]})


def test_average_over_crop_pairs_is_the_mean_of_their_losses(objective_corpus, tmp_path):
    losses = {}
    for average in (False, True):
        config = small_config(
            views=CROPS,
            pairs=GLOBAL_TO_ALL,
            encoder={"dropout": 0.0},
            objectives=[{**BARLOW_TWINS, "average_pairs": average}],
            trainer={"max_steps": 1},
        )
        losses[average] = pretrain(objective_corpus, tmp_path / str(average), config=config).metrics["loss"].iloc[0]
    assert losses[True] == pytest.approx(losses[False] / 5, rel=1e-6)


def test_crops_train_as_two_views_do(objective_corpus, tmp_path):
    config = small_config(views=CROPS, pairs=GLOBAL_TO_ALL, objectives=[{**BARLOW_TWINS, "average_pairs": True}], trainer={"epochs": 8})
    metrics = pretrain(objective_corpus, tmp_path / "run", config=config).metrics
    assert metrics["loss"].iloc[-1] < 0.8 * metrics["loss"].iloc[0]
    assert metrics["embedding_rank.a"].iloc[-1] > 8


def test_view_of_another_column_shares_the_encoder_it_names(table, tmp_path):
    views = {**FINGERPRINTS, "other": {**OTHER, "share_encoder": "a"}}
    config = small_config(views=views, pairs=[["a", "b"], ["a", "other"]], objectives=[{"name": "simtriplet"}])
    metrics = pretrain(table, tmp_path / "run", config=config).metrics
    assert metrics["simtriplet.loss"].iloc[-1] < metrics["simtriplet.loss"].iloc[0]
    assert set(TwinModel(config, {}).encoders) == {"a"}
    apart = small_config(views={**FINGERPRINTS, "other": OTHER}, objectives=[BARLOW_TWINS])
    assert set(TwinModel(apart, {}).encoders) == {"a", "other"}


def test_hard_negatives_of_a_column_raise_the_contrastive_loss(table, tmp_path):
    views = {**FINGERPRINTS, "other": {**OTHER, "share_encoder": "a"}}
    losses = {}
    for hard in (None, "other"):
        config = small_config(
            views=views, encoder={"dropout": 0.0}, objectives=[{"name": "simclr", "hard_negatives": hard}], trainer={"max_steps": 1}
        )
        losses[hard] = pretrain(table, tmp_path / str(hard), config=config).metrics["loss"].iloc[0]
    assert losses["other"] > losses[None] + 1e-3


@pytest.mark.parametrize(
    ("view", "message"),
    [
        ({**OTHER, "share_encoder": "z"}, "shares the encoder of 'z', which is no view before it"),
        ({**OTHER, "width": 512, "share_encoder": "a"}, "has another modality, preparation or encoder section"),
        ({"modality": "descriptors", "share_encoder": "a"}, "has another modality, preparation or encoder section"),
    ],
)
def test_encoder_that_does_not_take_the_view_is_refused(view, message):
    with pytest.raises(ConfigError, match=message):
        TwinModel(small_config(views={**FINGERPRINTS, "other": view}), {})
