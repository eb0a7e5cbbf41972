"""Signals: reading, scaling against NumPy, each augmentation, and training on real ones."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits
from small_run import small_config

from molbt.data.columns import FixedColumn
from molbt.data.molecules import ParsePolicy
from molbt.draws import Draws
from molbt.errors import DataError
from molbt.modalities.signal import Signal
from molbt.model.checkpoint import from_pretrained
from molbt.training.trainer import pretrain

POLICY = ParsePolicy()


def draws(n: int, epoch: int = 0) -> Draws:
    return Draws.for_rows(torch.arange(n), seed=0, epoch=epoch, view="a")


def test_cells_are_read_in_every_form_and_refused_with_a_reason():
    values = ["1 2.5 -3e1", "1, 2.5; -30", " [1, 2.5, -30.0] ", "1 2", "1 2 3 4", "1 x 3", "1 nan 3", "1 inf 3", "1 1e39 3", ""]
    prepared = Signal(points=3).prepare(values, POLICY)
    found = prepared.columns["values"].values.numpy()
    assert found.dtype == np.float32
    assert np.array_equal(found[:3], [[1, 2.5, -30]] * 3)
    assert np.isnan(found[3:]).all()
    assert prepared.reasons == [
        *[""] * 3,
        "expected 3 numbers, found 2",
        "expected 3 numbers, found 4",
        "a point is not a number",
        *["a point is not finite"] * 3,
        "expected 3 numbers, found 0",
    ]


def test_scaling_is_mean_and_deviation_of_the_training_rows():
    values = np.random.default_rng(0).normal(2, 3, (40, 6)).astype(np.float32)
    values[:, 4] = 7.0
    index = np.arange(0, 40, 2)
    fitted = Signal(points=6).fit({"values": FixedColumn.from_numpy(values)}, index)
    assert fitted["centre"] == pytest.approx(values[index].mean(0), rel=1e-5)
    expected = values[index].std(0)
    expected[4] = 1
    assert fitted["scale"] == pytest.approx(expected, rel=1e-5)
    encoder = Signal(points=6).build_encoder(embedding_dim=4, fitted={k: torch.from_numpy(v) for k, v in fitted.items()}, hidden=[8])
    assert encoder(torch.from_numpy(values)).shape == (40, 4)


def test_shift_moves_each_signal_by_whole_points():
    batch = torch.arange(1.0, 11.0).repeat(200, 1)
    moved = Signal(points=10, shift=2).augment(batch, draws(200))
    steps = set()
    for row in moved:
        known = ~row.isnan()
        step = {int(i + 1 - row[i]) for i in range(10) if known[i]}
        assert len(step) == 1
        steps |= step
        assert (~known).sum() == abs(next(iter(step)))
    assert steps == {-2, -1, 0, 1, 2}


def test_gain_noise_and_mask_stay_within_their_bounds():
    batch = torch.linspace(-4, 2, 50).repeat(300, 1)
    gained = Signal(points=50, gain=0.3).augment(batch, draws(300))
    factor = gained / batch
    assert (factor - factor[:, :1]).abs().max() < 1e-4
    assert 0.7 <= factor.min() < 0.72
    assert 1.28 < factor.max() <= 1.3001
    noisy = Signal(points=50, noise=0.1).augment(batch, draws(300)) - batch
    assert 0.39 < noisy.abs().max() <= 0.4001
    assert noisy.std().item() == pytest.approx(0.4 / 3**0.5, rel=0.03)
    masked = Signal(points=50, mask=0.2).augment(batch, draws(300)).isnan()
    assert (masked.sum(1) == 10).all()
    assert (masked[:, 1:] != masked[:, :-1]).sum(1).max() <= 2  # one window
    assert masked.any(0).all()
    assert torch.equal(Signal(points=50).augment(batch, draws(300)), batch)


def test_augmentation_depends_on_the_row_and_the_epoch_alone():
    batch = torch.randn(20, 12, generator=torch.Generator().manual_seed(0))
    modality = Signal(points=12, shift=2, gain=0.2, noise=0.1, mask=0.2)
    whole = modality.augment(batch, draws(20))
    part = modality.augment(batch[5:9], draws(20).select(torch.arange(5, 9)))
    assert torch.equal(whole[5:9].nan_to_num(9e9), part.nan_to_num(9e9))
    assert not torch.equal(whole.nan_to_num(9e9), modality.augment(batch, draws(20, epoch=1)).nan_to_num(9e9))
    assert modality.preparation() == {"points": 12, "winsorise": 5.0}


def test_other_columns_are_refused():
    with pytest.raises(DataError, match="expected one column 'values' with 5 float32 numbers"):
        Signal(points=5).check_columns({"values": FixedColumn.from_numpy(np.zeros((3, 4), np.float32))})


def test_signals_of_a_table_train_with_any_objective(tmp_path):
    # Handwritten digits as curves of 64 points: real signals that come with scikit-learn.
    signals = load_digits().data[:400]
    table = pd.DataFrame({"curve": [json.dumps(row.tolist()) for row in signals]})
    view = {"modality": "signal", "column": "curve", "points": 64, "noise": 0.1, "mask": 0.2, "shift": 1, "gain": 0.2}
    for objective in ({"name": "barlow_twins", "redundancy_weight": 8.0}, {"name": "mixed_barlow_twins", "redundancy_weight": 8.0}):
        config = small_config(views={"a": view, "b": {"like": "a"}}, objectives=[objective], trainer={"epochs": 8})
        result = pretrain(table, tmp_path / objective["name"], config=config)
        losses = result.metrics[f"{objective['name']}.loss"]
        assert losses.iloc[-1] < 0.9 * losses.iloc[0]
        assert result.metrics["embedding_rank.a"].iloc[-1] > 8
    twin = from_pretrained(result.model).eval()
    with torch.inference_mode():
        embeddings = twin.encode("a", torch.from_numpy(signals.astype(np.float32)))
    assert embeddings.shape == (400, 16)
    assert embeddings.isfinite().all()
