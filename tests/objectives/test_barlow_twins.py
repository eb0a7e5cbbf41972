"""The Barlow Twins objective against a textbook implementation, its invariances, and several ranks against one process."""

import math

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from molbt.errors import ConfigError, ShapeError
from molbt.nn.batch_norm import BatchNorm
from molbt.nn.collectives import sum_over_ranks
from molbt.nn.standardise import standardise
from molbt.objectives.barlow_twins import FORMS, NORMALISATIONS, PAPER_LAMBDA, BarlowTwins, barlow_twins_terms

EPSILON = 1e-5


def textbook_terms(z_a: Tensor, z_b: Tensor, normalisation: str = "official", divisor: int | None = None) -> tuple[Tensor, Tensor]:
    """Both terms from the whole correlation matrix, written as in the reference implementations (with ε added where they have none)."""
    if normalisation == "official":
        norm = nn.BatchNorm1d(z_a.shape[1], affine=False).to(z_a.dtype)
        a, b = norm(z_a), norm(z_b)
    else:
        if normalisation == "small_data":
            z_a, z_b = z_a / z_a.norm(dim=1, keepdim=True), z_b / z_b.norm(dim=1, keepdim=True)
        a = (z_a - z_a.mean(0)) / (z_a.std(0) + EPSILON)
        b = (z_b - z_b.mean(0)) / (z_b.std(0) + EPSILON)
    c = a.T @ b / (divisor or len(z_a))
    is_diagonal = torch.eye(len(c), dtype=torch.bool)
    return ((1 - c[is_diagonal]) ** 2).sum(), (c[~is_diagonal] ** 2).sum()


def two_views(n: int, d: int, *, seed: int = 0, dtype: torch.dtype = torch.float64, spread: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    common, noise_a, noise_b = (torch.randn(n, d, generator=generator, dtype=torch.float64) for _ in range(3))
    return (spread * (common + 0.5 * noise_a) + 3).to(dtype), (spread * (common - noise_b) - 1).to(dtype)


def value_and_gradients(function, *tensors: Tensor) -> tuple[Tensor, list[Tensor]]:
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    value = function(*leaves)
    return value.detach(), list(torch.autograd.grad(value, leaves))


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


class LargestTensor(TorchDispatchMode):
    """Records the number of elements of the largest tensor that any operation makes."""

    numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, Tensor):
                self.numel = max(self.numel, tensor.numel())
        return result


@pytest.mark.parametrize(("n", "d"), [(6, 40), (31, 40), (64, 10)])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_barlow_twins_equals_the_textbook_in_value_and_gradient(normalisation, form, n, d):
    views = two_views(n, d)
    objective = BarlowTwins(redundancy_lambda=0.02, normalisation=normalisation, form=form)
    value, gradients = value_and_gradients(lambda a, b: objective.loss(a, b).loss, *views)

    def textbook(a: Tensor, b: Tensor) -> Tensor:
        invariance, redundancy = textbook_terms(a, b, normalisation)
        return invariance + 0.02 * redundancy

    expected, expected_gradients = value_and_gradients(textbook, *views)
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        assert relative_error(gradient, expected_gradient) < 1e-12


def test_barlow_twins_terms_of_two_rows_are_those_computed_by_hand():
    # Standardised columns are ±1, so C = [[1, −1], [1, −1]]: (1 − 1)² + (1 + 1)² on the diagonal, 1 + 1 off it.
    terms = barlow_twins_terms(torch.tensor([[9.0, 9.0], [-9.0, -9.0]]), torch.tensor([[9.0, -9.0], [-9.0, 9.0]]))
    assert terms.invariance.item() == pytest.approx(4, rel=1e-5)
    assert terms.redundancy.item() == pytest.approx(2, rel=1e-5)
    assert terms.diagonal.tolist() == pytest.approx([1, -1], rel=1e-5)


def test_barlow_twins_gram_form_in_float32_has_the_gradient_of_float64():
    views = two_views(64, 1024)
    objective = BarlowTwins(form="gram")
    value, gradients = value_and_gradients(lambda a, b: objective.loss(a, b).loss, *(view.float() for view in views))
    exact, exact_gradients = value_and_gradients(lambda a, b: BarlowTwins(form="matrix").loss(a, b).loss, *views)
    assert value.item() == pytest.approx(exact.item(), rel=1e-5)
    for gradient, exact_gradient in zip(gradients, exact_gradients, strict=True):
        assert relative_error(gradient.double(), exact_gradient) < 2e-6


@pytest.mark.parametrize("form", ["matrix", "gram"])
def test_barlow_twins_redundancy_of_decorrelated_views_is_zero_up_to_rounding(form):
    # Columns of a Hadamard matrix are uncorrelated, so all of ‖C‖² lies on the diagonal and the subtraction cancels entirely.
    hadamard = torch.ones(1, 1)
    for _ in range(7):
        hadamard = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), hadamard)
    redundancy = barlow_twins_terms(hadamard[:, 1:], hadamard[:, 1:], form=form).redundancy
    assert abs(redundancy.item()) < 4e-6 * 127
    assert BarlowTwins(form=form).loss(hadamard[:, 1:], hadamard[:, 1:]).terms["rms_off_diagonal"].isfinite()


def test_barlow_twins_holds_no_square_matrix_of_the_width_below_three_quarters_of_it():
    largest = {}
    for n in (95, 97):
        views = [view.requires_grad_() for view in two_views(n, 128)]
        with LargestTensor() as record:
            BarlowTwins().loss(*views).loss.backward()
        largest[n] = record.numel
    assert largest == {95: 95 * 128, 97: 128 * 128}


@pytest.mark.parametrize("form", ["matrix", "gram"])
@pytest.mark.parametrize("normalisation", ["official", "unbiased", "molecular"])
def test_barlow_twins_is_unchanged_by_affine_rescaling_of_either_view(normalisation, form):
    # Large spreads, so that ε does not count. Standardising both views together would break this.
    z_a, z_b = two_views(12, 20, spread=100.0)
    factor, shift = torch.linspace(0.5, 20, 20, dtype=torch.float64), torch.linspace(-300, 300, 20, dtype=torch.float64)
    objective = BarlowTwins(normalisation=normalisation, form=form)
    expected = objective.loss(z_a, z_b).loss.item()
    assert objective.loss(z_a * factor + shift, z_b).loss.item() == pytest.approx(expected, rel=1e-6)
    assert objective.loss(z_a, z_b * factor - shift).loss.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("form", ["matrix", "gram"])
def test_barlow_twins_is_symmetric_and_does_not_depend_on_the_order_of_rows(form):
    z_a, z_b = two_views(12, 20)
    objective = BarlowTwins(form=form)
    expected = objective.loss(z_a, z_b).loss.item()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    assert objective.loss(z_b, z_a).loss.item() == pytest.approx(expected, rel=1e-13)
    assert objective.loss(z_a[order], z_b[order]).loss.item() == pytest.approx(expected, rel=1e-13)
    assert objective.loss(z_a[order], z_b).loss.item() != pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"normalisation": "official"}, 0.0),
        ({"normalisation": "unbiased"}, 16 / 64**2),
        ({"normalisation": "molecular"}, 16 / 64**2),
        ({"normalisation": "molecular", "configured_batch_size": 128}, 16 * (1 - 63 / 128) ** 2),
    ],
)
def test_barlow_twins_invariance_of_identical_views_is_that_of_the_normalisation(options, expected):
    z, _ = two_views(64, 16, spread=1e5)
    assert barlow_twins_terms(z, z, **options).invariance.item() == pytest.approx(expected, rel=1e-6, abs=1e-10)


def test_barlow_twins_of_independent_views_has_the_expected_terms():
    # E (1 − r)² = 1 + 1/(n − 1) and E r² = 1/(n − 1) for the correlation r of independent samples.
    n, d, repeats = 32, 16, 300
    generator = torch.Generator().manual_seed(0)
    drawn = [barlow_twins_terms(*torch.randn(2, n, d, generator=generator)) for _ in range(repeats)]
    assert np.mean([terms.invariance.item() for terms in drawn]) == pytest.approx(16 * (1 + 1 / 31), rel=0.03)
    assert np.mean([terms.redundancy.item() for terms in drawn]) == pytest.approx(16 * 15 / 31, rel=0.03)
    assert drawn[0].redundancy_floor == pytest.approx(16 * 15 / 31, rel=1e-12)


@pytest.mark.parametrize("form", ["matrix", "gram"])
@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_barlow_twins_is_finite_on_constant_columns_which_each_cost_one(normalisation, form):
    z_a, z_b = two_views(100, 12, dtype=torch.float32)
    # Dividing rows by their norm makes any constant but 0 vary. The others must stand a mean that float32 cannot hold exactly.
    value = 0.0 if normalisation == "small_data" else 1000.1
    constant = torch.full((100, 1), value)
    leaves = [torch.cat(parts, 1).requires_grad_() for parts in ([constant, constant, z_a], [constant, z_b[:, :1], z_b])]
    terms = barlow_twins_terms(*leaves, normalisation=normalisation, form=form)
    if normalisation != "small_data":
        rest = barlow_twins_terms(z_a, z_b, normalisation=normalisation, form=form)
        assert terms.invariance.item() == pytest.approx(rest.invariance.item() + 2, rel=1e-6)
    assert terms.diagonal[:2].tolist() == [0, 0]
    assert terms.dead_columns.item() == 2
    (terms.invariance + terms.redundancy).backward()
    assert all(leaf.grad.isfinite().all() for leaf in leaves)
    assert leaves[0].grad[:, 2:].abs().sum() > 0


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_barlow_twins_is_finite_when_everything_has_collapsed_and_on_two_rows(normalisation):
    for views in ((torch.zeros(8, 5), torch.zeros(8, 5)), two_views(2, 5, dtype=torch.float32), two_views(2, 1, dtype=torch.float32)):
        leaves = [view.clone().requires_grad_() for view in views]
        output = BarlowTwins(normalisation=normalisation).loss(*leaves)
        output.loss.backward()
        assert all(term.isfinite() for term in output.terms.values())
        assert all(leaf.grad.isfinite().all() for leaf in leaves)


def test_barlow_twins_divides_by_the_rows_received_unless_a_batch_size_is_configured():
    views = two_views(7, 20)
    for options, divisor in (({}, 7), ({"configured_batch_size": 32}, 32)):
        terms = barlow_twins_terms(*views, normalisation="molecular", **options)
        invariance, redundancy = textbook_terms(*views, "molecular", divisor=divisor)
        assert terms.invariance.item() == pytest.approx(invariance.item(), rel=1e-12)
        assert terms.redundancy.item() == pytest.approx(redundancy.item(), rel=1e-12)


@pytest.mark.parametrize("form", ["matrix", "gram"])
def test_barlow_twins_under_autocast_computes_in_float32(form):
    views = two_views(24, 40, dtype=torch.float32)
    objective = BarlowTwins(form=form)
    expected, expected_gradients = value_and_gradients(lambda a, b: objective.loss(a, b).loss, *views)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, gradients = value_and_gradients(lambda a, b: objective.loss(a, b).loss, *views)
    assert value.dtype == torch.float32
    assert torch.equal(value, expected)
    assert all(torch.equal(gradient, other) for gradient, other in zip(gradients, expected_gradients, strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_barlow_twins_of_half_precision_projections_is_that_of_their_float32_copies(dtype):
    # 512² squared correlations above 65504 in all would overflow float16.
    views = two_views(4, 512, dtype=dtype)
    output = BarlowTwins(redundancy_lambda=1.0, form="matrix").loss(*views)
    assert output.loss.dtype == torch.float32
    assert output.terms["redundancy"] > 65504
    assert torch.equal(output.loss, BarlowTwins(redundancy_lambda=1.0, form="matrix").loss(*(view.float() for view in views)).loss)


def test_barlow_twins_weight_is_lambda_times_width():
    views = two_views(9, 16)
    invariance, redundancy = (term.item() for term in textbook_terms(*views))
    for options, lambda_ in (
        ({}, 128 / 16),
        ({"redundancy_weight": 8}, 8 / 16),
        ({"redundancy_weight": 0}, 0.0),
        ({"redundancy_lambda": PAPER_LAMBDA}, 0.0051),
    ):
        terms = BarlowTwins(**options).loss(*views).terms
        assert terms["loss"].item() == pytest.approx(invariance + lambda_ * redundancy, rel=1e-12)
        assert terms["redundancy"].item() == pytest.approx(lambda_ * redundancy, rel=1e-12)
        assert terms["loss"].item() == pytest.approx((terms["invariance"] + terms["redundancy"]).item(), rel=1e-12)
        assert terms["sampling_floor"].item() == pytest.approx(lambda_ * 16 * 15 / 8, rel=1e-12)


def test_barlow_twins_reports_what_a_person_reads():
    views = two_views(50, 16)
    a, b = ((view - view.mean(0)).numpy() for view in views)
    correlations = np.corrcoef(a.T, b.T)[:16, 16:]
    output = BarlowTwins().loss(*views)
    assert output.terms["mean_diagonal"].item() == pytest.approx(np.diag(correlations).mean(), abs=1e-4)
    off_diagonal = correlations[~np.eye(16, dtype=bool)]
    assert output.terms["rms_off_diagonal"].item() == pytest.approx(math.sqrt((off_diagonal**2).mean()), abs=1e-4)
    assert output.terms["dead_columns"].item() == 0
    assert not any(term.requires_grad for term in output.terms.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"redundancy_weight": 1.0, "redundancy_lambda": 0.1}, "give one of them"),
        ({"redundancy_weight": -1.0}, "redundancy_weight of 0 or more, got -1.0"),
        ({"redundancy_lambda": math.nan}, "redundancy_lambda of 0 or more, got nan"),
        ({"normalisation": "offical"}, "did you mean 'official'"),
        ({"form": "grams"}, "did you mean 'gram'"),
        ({"configured_batch_size": 64}, "belongs to normalisation 'molecular', got 'official'"),
        ({"normalisation": "molecular", "configured_batch_size": 0}, "of 1 or more, got 0"),
    ],
)
def test_barlow_twins_refuses_settings_that_cannot_be_used(options, message):
    with pytest.raises(ConfigError, match=message):
        BarlowTwins(**options)


@pytest.mark.parametrize(
    "shapes", [((4, 3), (4, 2)), ((4, 3), (5, 3)), ((4,), (4,)), ((2, 4, 3), (2, 4, 3)), ((1, 3), (1, 3)), ((0, 3), (0, 3))]
)
def test_barlow_twins_refuses_shapes_that_do_not_fit(shapes):
    with pytest.raises(ShapeError, match="barlow_twins expected"):
        BarlowTwins().loss(*(torch.zeros(shape) for shape in shapes))


# Several ranks. Each holds its own rows; the gradient is averaged over ranks as the trainer does.

INPUT_DIM, WIDTH, N_ROWS = 7, 10, 26
CONTROLS = ("plain_all_reduce", "local_standardisation", "local_batch_norm", "no_exchange")


def network(*, is_norm_global: bool, dtype: torch.dtype) -> nn.Sequential:
    torch.manual_seed(0)
    norm = BatchNorm(12) if is_norm_global else nn.BatchNorm1d(12)
    layers = nn.Sequential(nn.Linear(INPUT_DIM, 12, bias=False), norm, nn.ReLU(), nn.Linear(12, WIDTH, bias=False))
    return layers.to(dtype)


def control_loss(z_a: Tensor, z_b: Tensor, control: str) -> Tensor:
    """Known wrong ways to spread the loss over ranks."""
    n_rows = int(sum_over_ranks(torch.tensor(float(len(z_a)))))
    if control == "no_exchange":
        return sum(textbook_terms(z_a, z_b))
    if control == "local_standardisation":
        c = sum_over_ranks(nn.BatchNorm1d(WIDTH, affine=False).double()(z_a).T @ nn.BatchNorm1d(WIDTH, affine=False).double()(z_b) / n_rows)
    else:
        a, b = (standardise(z, eps=EPSILON)[0] for z in (z_a, z_b))
        c = a.T @ b / n_rows
        with torch.no_grad():
            total = c.clone()
            dist.all_reduce(total)
        c = c + (total - c.detach())  # the value of the sum, the gradient of this rank's part
    return ((c - torch.eye(WIDTH)) ** 2).sum()


def train_on_rank(
    rank: int,
    world_size: int,
    *,
    form: str = "auto",
    normalisation: str = "official",
    control: str = "",
    equal_parts: bool = True,
    dtype: torch.dtype = torch.float64,
    steps: int = 5,
) -> dict[str, np.ndarray]:
    """Loss, terms and gradient of the first step, and the weights after some steps of SGD."""
    model = network(is_norm_global=control != "local_batch_norm", dtype=dtype)
    objective = BarlowTwins(redundancy_lambda=1.0, normalisation=normalisation, form=form)
    generator = torch.Generator().manual_seed(1)
    x_a, x_b = torch.randn(2, N_ROWS if not equal_parts else 24, INPUT_DIM, generator=generator, dtype=torch.float64).to(dtype)
    # Parts of unequal size: the last rank has what remains.
    size = len(x_a) // world_size if equal_parts else -(-len(x_a) // world_size)
    part = slice(rank * size, (rank + 1) * size if rank < world_size - 1 else None)
    record = {}
    for step in range(steps):
        model.zero_grad()
        z_a, z_b = model(x_a[part]), model(x_b[part])
        if control in ("", "local_batch_norm"):
            output = objective.loss(z_a, z_b)
            loss, terms = output.loss, {name: term.item() for name, term in output.terms.items()}
        else:
            loss, terms = control_loss(z_a, z_b, control), {}
        loss.backward()
        gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
        if world_size > 1:
            dist.all_reduce(gradient)
            gradient /= world_size
        if step == 0:
            record = {"loss": loss.item(), "gradient": gradient.numpy().copy(), **terms}
        with torch.no_grad():
            split = gradient.split([parameter.numel() for parameter in model.parameters()])
            for parameter, averaged in zip(model.parameters(), split, strict=True):
                parameter -= 0.01 * averaged.view_as(parameter)
    record["state"] = torch.cat([value.flatten().to(torch.float64) for value in model.state_dict().values()]).numpy()
    return record


def distance(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("equal_parts", [True, False])
@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("form", ["matrix", "gram"])
@pytest.mark.parametrize("world_size", [2, 4])
def test_barlow_twins_on_ranks_equals_one_process(on_ranks, world_size, form, normalisation, equal_parts):
    options = {"form": form, "normalisation": normalisation, "equal_parts": equal_parts}
    expected = train_on_rank(0, 1, **options)
    for result in on_ranks(train_on_rank, world_size, **options):
        assert result["loss"] == pytest.approx(expected["loss"], rel=1e-12)
        assert distance(result["gradient"], expected["gradient"]) < 1e-12
        assert distance(result["state"], expected["state"]) < 1e-10
        for name in set(expected) - {"gradient", "state"}:
            assert result[name] == pytest.approx(expected[name], rel=1e-11), name


@pytest.mark.parametrize("form", ["matrix", "gram"])
def test_barlow_twins_on_ranks_equals_one_process_in_float32(on_ranks, form):
    expected = train_on_rank(0, 1, form=form, steps=1)
    for result in on_ranks(train_on_rank, 4, form=form, steps=1, dtype=torch.float32):
        assert result["loss"] == pytest.approx(expected["loss"], rel=1e-5)
        assert distance(result["gradient"], expected["gradient"]) < 1e-5


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("world_size", [2, 4])
def test_barlow_twins_comparison_of_ranks_notices_what_is_wrong(on_ranks, world_size, control):
    expected = train_on_rank(0, 1, form="matrix", steps=1)
    for result in on_ranks(train_on_rank, world_size, control=control, steps=1):
        if control == "plain_all_reduce":
            assert result["loss"] == pytest.approx(expected["loss"], rel=1e-12)
            assert distance(result["gradient"], expected["gradient"] / world_size) < 1e-2
        else:
            assert result["loss"] != pytest.approx(expected["loss"], rel=1e-3)
        assert distance(result["gradient"], expected["gradient"]) > 1e-2


def too_few_rows(rank: int, world_size: int) -> str:
    try:
        BarlowTwins().loss(torch.zeros(1 - rank, 3), torch.zeros(1 - rank, 3))
    except ShapeError as error:
        return str(error)
    return ""


def test_barlow_twins_counts_the_rows_of_all_ranks(on_ranks):
    assert all("at least 2 rows, got 1" in message for message in on_ranks(too_few_rows, 2))
