"""The encoders of fingerprints and of numeric vectors against dense arithmetic."""

import numpy as np
import pytest
import torch
from torch import nn

from molbt.errors import ConfigError, ShapeError
from molbt.nn.dense_encoder import DenseEncoder
from molbt.nn.fingerprint_encoder import FingerprintBatch, FingerprintEncoder

WIDTH, INPUTS = 300, 12
EMPTY = torch.tensor([0, 4])  # rows without features


def fingerprint_batch(n_rows: int = 9, *, seed: int = 0, empty: torch.Tensor = EMPTY) -> FingerprintBatch:
    generator = torch.Generator().manual_seed(seed)
    present = torch.rand(n_rows, WIDTH, generator=generator) < 0.1
    present[empty[empty < n_rows]] = False
    row, ids = present.nonzero(as_tuple=True)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), present.sum(1).cumsum(0)])
    return FingerprintBatch(ids, torch.rand(len(ids), generator=generator) + 0.5, row, offsets, WIDTH)


def dense_of(batch: FingerprintBatch) -> torch.Tensor:
    """The matrix of a batch, by a loop."""
    matrix = torch.zeros(batch.n_rows, batch.width)
    for row in range(batch.n_rows):
        for item in range(int(batch.offsets[row]), int(batch.offsets[row + 1])):
            matrix[row, batch.ids[item]] += batch.weights[item]
            assert batch.row_of_item[item] == row
    return matrix


def fingerprint_encoder(**options) -> FingerprintEncoder:
    torch.manual_seed(0)
    return FingerprintEncoder(WIDTH, **{"embedding_dim": 7, "fitted": {}, "hidden": (16, 11), **options})


def fitted() -> dict[str, torch.Tensor]:
    return {"centre": torch.linspace(-3, 40, INPUTS), "scale": torch.linspace(0.2, 8, INPUTS)}


def dense_encoder(**options) -> DenseEncoder:
    torch.manual_seed(0)
    return DenseEncoder(**{"embedding_dim": 7, "fitted": fitted(), "winsorise": 3.0, "hidden": (16, 11), **options})


def dense_batch(n_rows: int = 9, *, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    batch = fitted()["centre"] + fitted()["scale"] * 2.5 * torch.randn(n_rows, INPUTS, generator=generator)
    batch[torch.rand(n_rows, INPUTS, generator=generator) < 0.2] = torch.nan
    batch[0] = torch.nan
    return batch


CASES = pytest.mark.parametrize(("make", "batch_of"), [(fingerprint_encoder, fingerprint_batch), (dense_encoder, dense_batch)])


def warmed_up(encoder, batch_of):
    """An encoder in eval mode whose running statistics are not those it began with."""
    for seed in range(3):
        encoder(batch_of(30, seed=seed))
    return encoder.eval()


def test_to_dense_is_the_matrix():
    batch = fingerprint_batch()
    assert torch.equal(batch.to_dense(), dense_of(batch))


def test_bag_and_matrix_product_agree_in_value_and_gradient():
    batch, results = fingerprint_batch(), []
    for densify in (False, True):
        encoder = fingerprint_encoder(densify=densify)
        output = encoder(batch)
        output.square().sum().backward()
        results.append((output.detach(), encoder.first_weight.grad, encoder.last.weight.grad))
    for sparse, dense in zip(*results, strict=True):
        torch.testing.assert_close(sparse, dense, rtol=1e-4, atol=1e-5)
    assert results[0][1].abs().sum() > 0
    assert fingerprint_encoder(densify=False).state_dict().keys() == fingerprint_encoder(densify=True).state_dict().keys()


def test_first_layer_is_a_linear_layer_without_bias():
    encoder = fingerprint_encoder().eval()
    batch = fingerprint_batch()
    norm, activation = encoder.blocks[0]
    expected = activation(norm(nn.functional.linear(dense_of(batch), encoder.first_weight.T)))
    torch.testing.assert_close(encoder(batch, "hidden_1"), expected)


def test_first_weights_start_as_a_linear_layer_with_a_hundred_inputs():
    encoder = fingerprint_encoder(hidden=(400,))
    torch.manual_seed(1)
    reference = nn.Linear(100, 400).weight
    assert encoder.first_weight.std().item() == pytest.approx(reference.std().item(), rel=0.02)
    assert encoder.first_weight.abs().max() <= 0.1


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("densify", [False, True])
def test_gradients_are_the_same_bits_in_every_run(densify, n_threads):
    batch, before, found = fingerprint_batch(256), torch.get_num_threads(), []
    try:
        torch.set_num_threads(n_threads)
        for _ in range(4):
            encoder = fingerprint_encoder(densify=densify, hidden=(256,))
            encoder(batch).square().sum().backward()
            found.append(encoder.first_weight.grad)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(gradient, found[0]) for gradient in found[1:])


def test_scaling_clips_and_fills():
    encoder, batch = dense_encoder(), dense_batch()
    scaled = ((batch - fitted()["centre"]) / fitted()["scale"]).numpy()
    expected = np.where(np.isnan(scaled), 0, np.clip(scaled, -3, 3))
    assert (np.abs(expected) == 3).any()
    np.testing.assert_allclose(encoder.scale(batch).numpy(), expected, rtol=1e-6)


def test_extreme_inputs_stay_finite():
    encoder = dense_encoder().eval()
    largest = torch.finfo(torch.float32).max
    batch = torch.tensor([largest, -largest, torch.nan])[:, None].expand(3, INPUTS)
    assert encoder(batch).isfinite().all()


@CASES
def test_outputs_have_the_widths_they_promise(make, batch_of):
    encoder = make().eval()
    assert encoder.output_dims == {"embedding": 7, "hidden_1": 16, "hidden_2": 11}
    for name, width in encoder.output_dims.items():
        output = encoder(batch_of(5), name)
        assert output.shape == (5, width)
        assert output.dtype == torch.float32
    torch.testing.assert_close(encoder.last(encoder.blocks[1](encoder(batch_of(5), "hidden_1"))), encoder(batch_of(5)))
    with pytest.raises(ConfigError, match="did you mean 'hidden_2'"):
        encoder(batch_of(5), "hidden_3")


@CASES
def test_a_row_alone_gives_what_it_gives_in_a_batch(make, batch_of):
    encoder = warmed_up(make(), batch_of)
    batch = batch_of()
    together = encoder(batch)
    for row in range(len(batch)):
        alone = encoder(encoder.select(batch, torch.tensor([row])))
        torch.testing.assert_close(alone[0], together[row], rtol=1e-5, atol=1e-6)


@CASES
def test_permuted_rows_give_permuted_outputs(make, batch_of):
    encoder = warmed_up(make(), batch_of)
    batch, order = batch_of(), torch.tensor([3, 1, 1, 8, 0])
    torch.testing.assert_close(encoder(encoder.select(batch, order)), encoder(batch)[order], rtol=1e-5, atol=1e-6)


@CASES
def test_one_row_and_empty_rows_are_finite_in_training(make, batch_of):
    encoder = make().train()
    for batch in (batch_of(1), encoder.select(batch_of(9), torch.tensor([2])), encoder.select(batch_of(9), torch.tensor([0, 0, 0]))):
        encoder.zero_grad()
        output = encoder(batch)
        output.square().sum().backward()
        assert output.isfinite().all()
        assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())
    assert encoder.eval()(batch_of(9)).isfinite().all()


def test_a_batch_without_any_item_works_in_both_forms():
    batch = fingerprint_batch(3, empty=torch.arange(3))
    assert len(batch.ids) == 0
    sparse, dense = (fingerprint_encoder(densify=densify).eval()(batch) for densify in (False, True))
    torch.testing.assert_close(sparse, dense)


@CASES
def test_double_precision_agrees_with_single(make, batch_of):
    single, double = make().eval()(batch_of()), make().double().eval()(batch_of())
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), single, rtol=1e-4, atol=1e-5)


@CASES
def test_no_rows_give_no_outputs(make, batch_of):
    encoder = make().eval()
    assert encoder(encoder.select(batch_of(), torch.empty(0, dtype=torch.int64))).shape == (0, 7)


def test_select_takes_rows_in_order():
    batch, order = fingerprint_batch(), torch.tensor([5, 4, 5, 1])
    selected = fingerprint_encoder().select(batch, order)
    assert torch.equal(dense_of(selected), dense_of(batch)[order])
    vectors = torch.arange(9.0 * INPUTS).reshape(9, INPUTS)
    assert torch.equal(dense_encoder().select(vectors, order), vectors[order])


@pytest.mark.parametrize("alpha", [torch.tensor(0.3), torch.linspace(0, 1, 9)])
def test_mixed_fingerprints_are_the_mixed_matrices(alpha):
    a, b = fingerprint_batch(seed=1), fingerprint_batch(seed=2, empty=torch.tensor([4, 7, 8]))
    encoder = fingerprint_encoder()
    mixed = encoder.mix(a, b, alpha)
    share = alpha.reshape(-1, 1)
    expected = share * dense_of(a) + (1 - share) * dense_of(b)
    torch.testing.assert_close(dense_of(mixed), expected)
    torch.testing.assert_close(mixed.to_dense(), expected)
    for densify in (False, True):
        encoder.densify = densify
        norm, activation = encoder.eval().blocks[0]
        torch.testing.assert_close(encoder(mixed, "hidden_1"), activation(norm(expected @ encoder.first_weight)))


@pytest.mark.parametrize("alpha", [torch.tensor(0.3), torch.linspace(0, 1, 9)])
def test_mixed_vectors_are_mixtures_of_what_the_network_sees(alpha):
    encoder = dense_encoder()
    a, b = dense_batch(seed=1), dense_batch(seed=2)
    share = alpha.reshape(-1, 1)
    expected = share * encoder.scale(a) + (1 - share) * encoder.scale(b)
    torch.testing.assert_close(encoder.scale(encoder.mix(a, b, alpha)), expected, rtol=1e-5, atol=1e-5)


@CASES
def test_batches_of_another_shape_are_refused(make, batch_of):
    encoder = make()
    with pytest.raises(ShapeError, match="same rows and the same modality"):
        encoder.mix(batch_of(5), batch_of(6), torch.tensor(0.5))
    wrong = torch.zeros(3, INPUTS + 1)
    if make is fingerprint_encoder:
        wrong = FingerprintBatch(*(torch.zeros(k, dtype=torch.int64) for k in (0, 0, 0, 4)), width=WIDTH + 1)
    with pytest.raises(ShapeError, match=f"{WIDTH if make is fingerprint_encoder else INPUTS}"):
        encoder(wrong)


@CASES
@pytest.mark.parametrize("option", ["dropout", "input_dropout"])
def test_dropout_acts_in_training_only(make, batch_of, option):
    batch, plain, dropped = batch_of(), make().train(), make(**{option: 0.5}).train()
    torch.manual_seed(1)
    assert not torch.equal(dropped(batch), plain(batch))
    plain, dropped = make().eval(), make(**{option: 0.5}).eval()
    assert torch.equal(dropped(batch), plain(batch))


def test_input_dropout_zeroes_its_share_and_scales_the_rest():
    encoder = fingerprint_encoder(input_dropout=0.25).train()
    kept = encoder.input_dropout(torch.ones(20_000))
    assert (kept == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert kept.max().item() == pytest.approx(1 / 0.75)


@CASES
def test_activation_changes_the_output(make, batch_of):
    outputs = [make(activation=name).eval()(batch_of()) for name in ("gelu", "relu", "silu")]
    assert not torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


@CASES
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hidden": ()}, "one or more positive widths"),
        ({"hidden": (8, 0)}, "one or more positive widths"),
        ({"hidden": 8}, "one or more positive widths"),
        ({"hidden": (8, 10**12)}, "of at most 65,536, received"),
        ({"embedding_dim": 0}, "must be positive"),
        ({"embedding_dim": "8"}, "must be positive and at most 65,536, received '8'"),
        ({"activation": ["gelu"]}, "unknown encoder.activation"),
        ({"dropout": True}, r"encoder\.dropout must lie in"),
        ({"activation": "gellu"}, "did you mean 'gelu'"),
        ({"dropout": 1.0}, r"encoder\.dropout must lie in"),
        ({"input_dropout": -0.1}, r"encoder\.input_dropout must lie in"),
    ],
)
def test_wrong_options_are_refused(make, batch_of, options, words):
    with pytest.raises(ConfigError, match=words):
        make(**options)


def test_unfitted_vectors_are_refused():
    with pytest.raises(ConfigError, match="call the modality's fit"):
        dense_encoder(fitted={})
