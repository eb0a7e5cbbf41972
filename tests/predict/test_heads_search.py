"""Search for parameters: against the same folds scored with scikit-learn."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import Ridge
from sklearn.metrics import root_mean_squared_error

from molbt.errors import ConfigError, DataError, MissingDependencyError
from molbt.predict.cross_validation import inner_folds
from molbt.predict.features import FeatureSet
from molbt.predict.heads import HEADS, build_head
from molbt.predict.search import search_head

N = 60
RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(1.0, size=(N, 10)).astype(np.float32)
DENSE = RNG.normal(size=(N, 4)).astype(np.float32)
Y = COUNTS[:, 0] + DENSE[:, 0] + 0.1 * RNG.normal(size=N)
BOTH = FeatureSet("both", {"counts": sparse.csr_array(COUNTS), "dense": DENSE}, np.ones(N, bool))
ONLY_DENSE = FeatureSet("dense", {"dense": DENSE}, BOTH.valid)
LABELS = (np.median(Y) < Y).astype(float)
CASES = [(name, task) for name, head in HEADS.items() for task in head.task_types if (name, task) != ("forest", "classification")]
CASES = [(name, task) for name, task in CASES if name not in ("auto", "prototypes")]  # these have nothing to search for


@pytest.mark.parametrize(("name", "task_type"), CASES)
def test_search_returns_parameters_that_build_a_head_no_worse_than_its_defaults(name: str, task_type: str) -> None:
    features = ONLY_DENSE if name == "svm" else BOTH
    y = Y if task_type == "regression" else LABELS
    found = search_head(name, features, y, task_type, n_trials=2, folds=2)
    assert len(found.scores) == 2
    assert found.score <= found.default_score if task_type == "regression" else found.score >= found.default_score
    assert found.score in (*found.scores, found.default_score)
    build_head(name, task_type, **found.parameters)


def test_score_of_a_search_is_that_of_scikit_learn_on_the_same_folds() -> None:
    scaled = (DENSE - DENSE.mean(axis=0)) / DENSE.std(axis=0)
    y = DENSE.astype(float) @ [1.0, 2.0, 0.0, 0.0] + 0.01 * RNG.normal(size=N)  # less noise than the default penalties are for
    found = search_head("ridge", ONLY_DENSE, y, n_trials=12, folds=4, random_state=5)
    assert found.score < found.default_score
    (penalty,) = found.parameters["penalties"]
    scores = []
    for train, rest in inner_folds(y, "regression", 4, 5):
        scores.append(root_mean_squared_error(y[rest], Ridge(alpha=penalty).fit(scaled[train], y[train]).predict(scaled[rest])))
    assert found.score == pytest.approx(np.mean(scores), rel=0.02)  # the head scales by each fold's rows, the test by all


def test_search_is_the_same_again_and_follows_the_seed() -> None:
    first, again, other = (search_head("knn", BOTH, Y, n_trials=4, random_state=seed) for seed in (0, 0, 1))
    assert first == again
    assert first.scores != other.scores


def test_defaults_are_kept_where_no_trial_is_better() -> None:
    noise = np.random.default_rng(3).normal(size=N)  # the strongest default penalty is right, and a single trial does not find it
    found = search_head("ridge", ONLY_DENSE, noise, n_trials=1)
    assert found.scores[0] > found.default_score
    assert found.parameters == {}
    assert found.score == found.default_score


def test_search_leaves_refused_and_unlabelled_rows_out() -> None:
    valid, y = np.arange(N) != 3, np.where(np.arange(N) == 5, np.nan, Y)
    kept = np.setdiff1d(np.arange(N), [3, 5])
    whole = search_head("ridge", FeatureSet("both", BOTH.blocks, valid), y, n_trials=2)
    assert whole == search_head("ridge", BOTH.rows(kept), Y[kept], n_trials=2)


def test_search_ends_after_so_many_seconds_and_leaves_the_verbosity_of_optuna() -> None:
    optuna = pytest.importorskip("optuna")
    before = optuna.logging.get_verbosity()
    found = search_head("ridge", ONLY_DENSE, Y, n_trials=10_000, seconds=0.3)
    assert 1 <= len(found.scores) < 10_000
    assert optuna.logging.get_verbosity() == before


@contextmanager
def monitored_optuna(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Optuna's messages do not reach the root logger, where ``caplog`` listens."""
    logger = logging.getLogger("optuna")
    logger.addHandler(caplog.handler)
    try:
        yield
    finally:
        logger.removeHandler(caplog.handler)


def test_search_refuses_what_it_cannot_do(caplog: pytest.LogCaptureFixture) -> None:
    with monitored_optuna(caplog), pytest.raises(ConfigError, match="nothing to search for"):
        search_head("auto", BOTH, Y, n_trials=1)
    assert not caplog.records  # the error is raised; Optuna would log its traceback as well
    with pytest.raises(ConfigError, match="n_trials=0"):
        search_head("ridge", BOTH, Y, n_trials=0)
    with pytest.raises(ConfigError, match="seconds=-1"):
        search_head("ridge", BOTH, Y, seconds=-1)
    with pytest.raises(DataError, match="2 labelled rows"):
        search_head("ridge", BOTH.rows(np.arange(2)), Y[:2])
    with pytest.raises(DataError, match="use the head's defaults"):
        search_head("ridge", BOTH, np.ones(N))
    with pytest.raises(ConfigError, match="cannot use the features"):
        search_head("svm", BOTH, Y, n_trials=1)


def test_search_names_the_extra_that_brings_optuna(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'molbt\[hpo\]'"):
        search_head("ridge", BOTH, Y)
