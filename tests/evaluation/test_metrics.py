import numpy as np
import pytest
from sklearn import metrics as reference

from molbt.errors import ConfigError, ShapeError
from molbt.evaluation.metrics import METRICS, find_metric


@pytest.fixture
def regression() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.normal(size=50)
    return y, y + rng.normal(size=50)


@pytest.fixture
def classification() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    y = (rng.random(60) < 0.3).astype(float)
    return y, np.round(y + rng.normal(size=60), 1)  # rounded, so that there are ties


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rmse", reference.root_mean_squared_error),
        ("mae", reference.mean_absolute_error),
        ("r2", reference.r2_score),
        ("pearson", lambda y, p: np.corrcoef(y, p)[0, 1]),
    ],
)
def test_regression_metric_equals_reference(name, expected, regression) -> None:
    assert METRICS[name].function(*regression) == pytest.approx(expected(*regression), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("roc_auc", reference.roc_auc_score),
        ("average_precision", reference.average_precision_score),
        ("delta_auprc", lambda y, p: reference.average_precision_score(y, p) - y.mean()),
    ],
)
def test_classification_metric_equals_reference(name, expected, classification) -> None:
    assert METRICS[name].function(*classification) == pytest.approx(expected(*classification), rel=1e-12)


def test_metrics_of_a_hand_calculated_case() -> None:
    y, scores = np.array([1.0, 0.0, 1.0, 0.0]), np.array([0.9, 0.8, 0.7, 0.1])
    # Precision at the two positives is 1/1 and 2/3; three of the four pairs are in order.
    assert METRICS["average_precision"].function(y, scores) == pytest.approx(5 / 6)
    assert METRICS["delta_auprc"].function(y, scores) == pytest.approx(1 / 3)
    assert METRICS["roc_auc"].function(y, scores) == pytest.approx(3 / 4)
    assert METRICS["rmse"].function(np.array([0.0, 0.0]), np.array([3.0, 4.0])) == pytest.approx(np.sqrt(12.5))


@pytest.mark.parametrize("name", METRICS)
def test_metric_of_no_rows_is_nan(name) -> None:
    assert np.isnan(METRICS[name].function(np.array([]), np.array([])))


@pytest.mark.parametrize(
    ("name", "y"),
    [("roc_auc", [1, 1]), ("roc_auc", [0, 0]), ("average_precision", [0, 0]), ("delta_auprc", [1, 1]), ("r2", [2, 2]), ("pearson", [2, 2])],
)
def test_metric_is_nan_and_not_zero_where_it_is_not_defined(name, y) -> None:
    assert np.isnan(METRICS[name].function(np.array(y, float), np.array([0.2, 0.4])))


def test_pearson_of_constant_predictions_is_nan() -> None:
    assert np.isnan(METRICS["pearson"].function(np.array([1.0, 2.0]), np.array([3.0, 3.0])))


@pytest.mark.parametrize("predictions", [[1.0], [1.0, np.nan], [1.0, np.inf]])
def test_metrics_refuse_what_is_not_paired_or_not_finite(predictions) -> None:
    with pytest.raises(ShapeError):
        METRICS["rmse"].function(np.array([1.0, 2.0]), np.array(predictions))


def test_metric_names_may_end_in_a_group() -> None:
    assert find_metric("rmse_cliff") == (METRICS["rmse"], "cliff")
    assert find_metric("delta_auprc") == (METRICS["delta_auprc"], None)
    assert find_metric("roc_auc_unseen_drug") == (METRICS["roc_auc"], "unseen_drug")
    with pytest.raises(ConfigError, match="did you mean 'rmse'"):
        find_metric("rsme")


def test_direction_of_each_metric_is_that_of_a_perfect_prediction(regression, classification) -> None:
    for metric in METRICS.values():
        y, predictions = regression if metric.task_type == "regression" else classification
        assert (metric.function(y, y) > metric.function(y, predictions)) == metric.larger_is_better
