"""Barlow Twins: the cross-correlation of two views should be the identity matrix."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from molbt.errors import ConfigError, ShapeError, suggestion
from molbt.nn.collectives import rows_per_rank, sum_over_ranks
from molbt.nn.contrast import in_full_precision
from molbt.nn.product_norm import squared_product_norm
from molbt.nn.standardise import standardise
from molbt.objectives.base import Objective, ObjectiveOutput, check_projections

PAPER_LAMBDA = 0.0051
"""λ of Zbontar et al. 2021 (``--lambd`` of the authors' code), for projections 8192 wide: λ·d = 41.8."""

DEFAULT_REDUNDANCY_WEIGHT = 128.0
EPSILON = 1e-5
GRAM_BELOW = 0.75
"""Rows per column below which the Gram form is cheaper; see ``squared_product_norm``."""
FORMS = ("auto", "matrix", "gram")
NORMALISATIONS = ("official", "small_data", "unbiased", "molecular")


class BarlowTwinsTerms(NamedTuple):
    """What ``barlow_twins_terms`` returns.

    Attributes
    ----------
    invariance : scalar Tensor
        ``Σ_i (1 − C_ii)²``, dimensionless.
    redundancy : scalar Tensor
        ``Σ_{i≠j} C_ij²``, dimensionless, not weighted.
    diagonal : Tensor of shape (projection_dim,)
        ``C_ii``, detached.
    redundancy_floor : float
        The redundancy expected of the same number of rows of two views whose features are all independent: what sampling noise alone
        puts off the diagonal.
    dead_columns : scalar Tensor, int64
        Columns whose standard deviation over the batch is below 1e-5 in either view.
    """

    invariance: Tensor
    redundancy: Tensor
    diagonal: Tensor
    redundancy_floor: float
    dead_columns: Tensor


class BarlowTwins(Objective):
    """``L = Σ_i (1 − C_ii)² + λ Σ_{i≠j} C_ij²``, where C is the cross-correlation matrix of the two projections over the batch.

    Parameters
    ----------
    redundancy_weight : float, optional
        ``λ · projection_dim``; 128 when neither weight is given. The off-diagonal sum has ``d (d − 1)`` terms and the diagonal one has
        ``d``, so a λ means something else at every width while ``λ · d`` keeps its meaning. 128 suits two views of one molecule's
        structure; for molecule ↔ assay or target use about 8.
    redundancy_lambda : float, optional
        λ itself, instead of ``redundancy_weight``. ``PAPER_LAMBDA`` (0.0051) is the paper's.
    normalisation : {"official", "small_data", "unbiased", "molecular"}
        How columns are standardised; see ``barlow_twins_terms``.
    form : {"auto", "matrix", "gram"}
        How the correlations are computed; the result is the same. ``"auto"`` takes the cheaper one.
    configured_batch_size : int, optional
        Divisor of the ``"molecular"`` normalisation.

    Raises
    ------
    ConfigError
        If both weights are given, a weight is negative or not finite, a name is unknown, or ``configured_batch_size`` comes with another
        normalisation or is not positive.

    Notes
    -----
    Terms: ``loss`` is ``invariance`` plus ``redundancy`` (weighted with λ). ``sampling_floor`` is the weighted redundancy that sampling
    noise alone gives: a loss near it has nothing left to learn from this batch size. Beside them ``mean_diagonal``, ``rms_off_diagonal``
    and ``dead_columns``.
    It has no running statistics: in validation, too, a batch is standardised by its own.

    References
    ----------
    Zbontar et al., "Barlow Twins: Self-Supervised Learning via Redundancy Reduction", ICML 2021, Algorithm 1,
    https://arxiv.org/abs/2103.03230
    """

    def __init__(
        self,
        *,
        redundancy_weight: float | None = None,
        redundancy_lambda: float | None = None,
        normalisation: str = "official",
        form: str = "auto",
        configured_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        if redundancy_weight is not None and redundancy_lambda is not None:
            raise ConfigError(
                f"barlow_twins expected redundancy_weight (λ·d) or redundancy_lambda (λ), got both ({redundancy_weight} and "
                f"{redundancy_lambda}); give one of them"
            )
        for name, value in (("redundancy_weight", redundancy_weight), ("redundancy_lambda", redundancy_lambda)):
            if value is not None and not 0 <= value < math.inf:
                raise ConfigError(f"barlow_twins expected a {name} of 0 or more, got {value}; give a finite number such as 128 or 0.0051")
        _check_options(normalisation, form, configured_batch_size)
        self.redundancy_weight = redundancy_weight
        self.redundancy_lambda = redundancy_lambda
        self.normalisation = normalisation
        self.form = form
        self.configured_batch_size = configured_batch_size

    def loss(self, z_a: Tensor, z_b: Tensor) -> ObjectiveOutput:
        """Score two projections ``(batch, projection_dim)`` of the same rows; see ``barlow_twins_terms`` for what is refused."""
        terms = barlow_twins_terms(
            z_a, z_b, normalisation=self.normalisation, form=self.form, configured_batch_size=self.configured_batch_size
        )
        projection_dim = len(terms.diagonal)
        lambda_ = self.lambda_of(projection_dim)
        redundancy = lambda_ * terms.redundancy
        loss = terms.invariance + redundancy
        n_off_diagonal = max(projection_dim * (projection_dim - 1), 1)
        logged = {
            "loss": loss,
            "invariance": terms.invariance,
            "redundancy": redundancy,
            "mean_diagonal": terms.diagonal.mean(),
            "rms_off_diagonal": (terms.redundancy.clamp(min=0) / n_off_diagonal).sqrt(),
            "sampling_floor": torch.full_like(loss, lambda_ * terms.redundancy_floor),
            "dead_columns": terms.dead_columns,
        }
        return ObjectiveOutput(loss, {name: value.detach() for name, value in logged.items()})

    def lambda_of(self, projection_dim: int) -> float:
        """Return λ for projections of a width."""
        if self.redundancy_lambda is not None:
            return self.redundancy_lambda
        weight = DEFAULT_REDUNDANCY_WEIGHT if self.redundancy_weight is None else self.redundancy_weight
        return weight / projection_dim


def barlow_twins_terms(
    z_a: Tensor,
    z_b: Tensor,
    *,
    normalisation: str = "official",
    form: str = "auto",
    configured_batch_size: int | None = None,
) -> BarlowTwinsTerms:
    """Return the invariance and redundancy terms of two projections, over the rows of all ranks.

    Parameters
    ----------
    z_a, z_b : Tensor of shape (batch, projection_dim), float
        Projections of two views of the same molecules, row by row. Half precision is computed in float32 (also under autocast),
        float64 stays. A column that is constant over the batch has no correlation: it adds 1 to the invariance term and has no gradient.
    normalisation : {"official", "small_data", "unbiased", "molecular"}
        The implementations in use differ; with ``n`` rows, ``C_ii`` of two identical views is given for each.

        ``"official"``: variance divided by n, ε under the root, C divided by n; 1. As the authors' batch norm, lightly and solo-learn.
        ``"unbiased"``: variance divided by n − 1, ε added to the standard deviation, C divided by n; (n − 1)/n. As Graph Barlow Twins.
        ``"small_data"``: each row is first divided by its Euclidean norm, then as ``"unbiased"``. As the code of Barlow Twins HSIC and
        of Mixed Barlow Twins.
        ``"molecular"``: as ``"unbiased"``, but C is divided by ``configured_batch_size`` when that is given. As TwinBooster and
        BarlowDTI, whose short last batch is scored on another scale; (n − 1)/configured_batch_size.

        ε is 1e-5 throughout: implementations without it return NaN on a constant column.
    form : {"auto", "matrix", "gram"}
        Whether the redundancy term comes from the ``(projection_dim, projection_dim)`` matrix or from the ``(batch, batch)`` Gram
        matrices; ``"auto"`` takes the second below ``batch = 0.75 · projection_dim``, where it is cheaper.
    configured_batch_size : int, optional
        Divisor of C in ``"molecular"``.

    Returns
    -------
    BarlowTwinsTerms
        The same on every rank.

    Raises
    ------
    ShapeError
        If the projections are not matrices of one shape, or have fewer than two rows on all ranks together.
    ConfigError
        If a name is unknown or ``configured_batch_size`` does not fit.

    Notes
    -----
    The redundancy is ``‖C‖² − Σ C_ii²``, so C is neither masked nor changed. The subtraction costs little where ``"auto"`` takes the Gram
    form: C has rank below n, hence ``‖C‖² ≥ (Σ C_ii)² / (n − 1)``, and at most two of the leading bits cancel.
    """
    _check_options(normalisation, form, configured_batch_size)
    check_projections("barlow_twins", z_a, z_b)
    n_rows, projection_dim = sum(rows_per_rank(z_a)), z_a.shape[1]
    if n_rows < 2:
        raise ShapeError(f"barlow_twins expected a batch of at least 2 rows, got {n_rows}; drop a last batch of one row")
    divisor = configured_batch_size or n_rows
    unbiased = normalisation != "official"
    with torch.autocast(z_a.device.type, enabled=False):
        # Scaling both views by 1/√n divides before any sum is taken, and treats them alike.
        scale = 1 / math.sqrt(divisor)
        a, variance_a = standardised(z_a, normalisation, scale=scale)
        b, variance_b = standardised(z_b, normalisation, scale=scale)
        diagonal = sum_over_ranks((a * b).sum(0))
        gram = form == "gram" or (form == "auto" and n_rows < GRAM_BELOW * projection_dim)
        redundancy = squared_product_norm(a, b, gram=gram) - diagonal.square().sum()
        invariance = (1 - diagonal).square().sum()
        dead = torch.minimum(variance_a, variance_b) < EPSILON**2
    attainable = (n_rows - 1) / divisor if unbiased else 1.0
    floor = attainable**2 * projection_dim * (projection_dim - 1) / (n_rows - 1)
    return BarlowTwinsTerms(invariance, redundancy, diagonal.detach(), floor, dead.sum())


def standardised(z: Tensor, normalisation: str, *, scale: float) -> tuple[Tensor, Tensor]:
    """Return float32 (or float64) columns of mean 0 and deviation ``scale`` as a normalisation of ``barlow_twins_terms`` has them, and
    their variances before."""
    z = in_full_precision(z)
    if normalisation == "small_data":
        z = nn.functional.normalize(z, dim=1, eps=EPSILON)
    return standardise(z, unbiased=normalisation != "official", eps=EPSILON, scale=scale)


def _check_options(normalisation: str, form: str, configured_batch_size: int | None) -> None:
    if normalisation not in NORMALISATIONS:
        raise ConfigError(f"barlow_twins: unknown normalisation {normalisation!r}{suggestion(normalisation, NORMALISATIONS)}")
    if form not in FORMS:
        raise ConfigError(f"barlow_twins: unknown form {form!r}{suggestion(form, FORMS)}")
    if configured_batch_size is None:
        return
    if normalisation != "molecular":
        raise ConfigError(
            f"barlow_twins: configured_batch_size belongs to normalisation 'molecular', got {normalisation!r}; "
            "leave it out, the rows of the batch are counted"
        )
    if configured_batch_size < 1:
        raise ConfigError(f"barlow_twins expected a configured_batch_size of 1 or more, got {configured_batch_size}; give the batch size")
