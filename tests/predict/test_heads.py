import json

import numpy as np
import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator
from scipy import sparse
from sklearn.base import clone
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.svm import SVR

from molbt.errors import ConfigError, DataError, ShapeError
from molbt.predict.features import FeatureSet, feature_builders
from molbt.predict.head import TASK_TYPES
from molbt.predict.heads import HEADS, build_head

FEW_TREES = {"forest": {"n_trees": 40}, "lightgbm": {"n_trees": 100}, "auto": {"members": ["svm", "gp"]}}
CASES = [(name, task_type) for name, head in HEADS.items() for task_type in head.task_types]


def made_features(n: int, *, kind: str, seed: int = 0, width: int = 12) -> tuple[FeatureSet, np.ndarray]:
    """Rows whose label is a sum over the first two columns, with little noise."""
    rng = np.random.default_rng(seed)
    if kind == "counts":
        values = rng.poisson(1.0, size=(n, width)).astype(np.float32)
        block: np.ndarray | sparse.csr_array = sparse.csr_array(values)
    else:
        values = rng.normal(size=(n, width)).astype(np.float32)
        block = values
    y = values[:, 0] + values[:, 1] + 0.1 * rng.normal(size=n)
    return FeatureSet(kind, {kind: block}, np.ones(n, bool)), y


def kind_of(name: str) -> str:
    return "counts" if name == "tanimoto_svm" else "dense"


def labels_of(y: np.ndarray, task_type: str) -> np.ndarray:
    return y if task_type == "regression" else (y > np.median(y)).astype(float)


@pytest.mark.parametrize(("name", "task_type"), CASES)
def test_head_learns_a_simple_relation(name: str, task_type: str) -> None:
    features, y = made_features(400, kind=kind_of(name))
    y = labels_of(y, task_type)
    train, test = np.arange(300), np.arange(300, 400)
    predictions = build_head(name, task_type, **FEW_TREES.get(name, {})).fit(features.rows(train), y[train]).predict(features.rows(test))
    assert predictions.dtype == np.float64
    if task_type == "regression":
        assert r2_score(y[test], predictions) > 0.65  # the mean label of neighbours lags behind the others
    else:
        assert roc_auc_score(y[test], predictions) > 0.9
        assert predictions.min() >= 0
        assert predictions.max() <= 1


@pytest.mark.parametrize(("name", "task_type"), CASES)
def test_head_is_not_constant_on_sixteen_rows(name: str, task_type: str) -> None:
    features, y = made_features(16, kind=kind_of(name))
    predictions = build_head(name, task_type, **FEW_TREES.get(name, {})).fit(features, labels_of(y, task_type)).predict(features)
    assert np.ptp(predictions) > 0.05


@pytest.mark.parametrize(("name", "task_type"), CASES)
def test_head_fits_two_rows(name: str, task_type: str) -> None:
    features, _ = made_features(2, kind=kind_of(name))
    assert np.isfinite(build_head(name, task_type, **FEW_TREES.get(name, {})).fit(features, np.array([0.0, 1.0])).predict(features)).all()


@pytest.mark.parametrize(("name", "task_type"), CASES)
def test_head_gives_the_same_bits_again_and_for_any_number_of_jobs(name: str, task_type: str) -> None:
    features, y = made_features(60, kind=kind_of(name))
    y = labels_of(y, task_type)
    first, again, two = (
        build_head(name, task_type, random_state=3, n_jobs=n, **FEW_TREES.get(name, {})).fit(features, y).predict(features)
        for n in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, two)


@pytest.mark.parametrize(("name", "task_type"), CASES)
def test_head_leaves_refused_and_unlabelled_rows_out_of_training_and_keeps_their_place(name: str, task_type: str) -> None:
    features, y = made_features(40, kind=kind_of(name))
    y = labels_of(y, task_type)
    valid = np.ones(40, bool)
    valid[[0, 7, 8]] = False
    y_missing = y.copy()
    y_missing[[8, 9]] = np.nan
    head = build_head(name, task_type, **FEW_TREES.get(name, {})).fit(FeatureSet(features.name, features.blocks, valid), y_missing)
    assert (head.n_train_, head.n_refused_, head.n_unlabelled_) == (36, 3, 1)
    kept = np.setdiff1d(np.arange(40), [0, 7, 8, 9])
    reference = build_head(name, task_type, **FEW_TREES.get(name, {})).fit(features.rows(kept), y[kept])
    predictions = head.predict(FeatureSet(features.name, features.blocks, valid))
    assert np.flatnonzero(np.isnan(predictions)).tolist() == [0, 7, 8]
    # Not to the last bit: a product of fewer rows may add up in another order.
    np.testing.assert_allclose(predictions[valid], reference.predict(features)[valid], rtol=1e-9)


@pytest.mark.parametrize(("name", "task_type"), CASES)
def test_head_predicts_the_only_label_there_was(name: str, task_type: str) -> None:
    features, _ = made_features(5, kind=kind_of(name))
    head = build_head(name, task_type, **FEW_TREES.get(name, {})).fit(features, np.ones(5))
    assert head.constant_ == 1.0
    np.testing.assert_array_equal(head.predict(features), np.ones(5))


@pytest.mark.parametrize(("name", "task_type"), CASES)
def test_head_is_rebuilt_from_its_parameters_as_json(name: str, task_type: str) -> None:
    features, y = made_features(30, kind=kind_of(name))
    y = labels_of(y, task_type)
    head = build_head(name, task_type, random_state=1, **FEW_TREES.get(name, {}))
    rebuilt = build_head(name, task_type, random_state=1, **json.loads(json.dumps(head.parameters())))
    expected = head.fit(features, y).predict(features)
    np.testing.assert_array_equal(rebuilt.fit(features, y).predict(features), expected)
    np.testing.assert_array_equal(clone(head).fit(features, y).predict(features), expected)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("lightgbm", {"n_trees": 3}),
        ("lightgbm", {"learning_rate": 0.01}),
        ("lightgbm", {"num_leaves": 3}),
        ("lightgbm", {"min_rows_in_leaf": 15}),
        ("lightgbm", {"column_fraction": 0.9}),
        ("lightgbm", {"row_fraction": 0.5}),
        ("lightgbm", {"l2": 100.0}),
        ("lightgbm", {"max_bin": 3}),
        ("lightgbm", {"patience": 5}),
        ("knn", {"neighbours": [2]}),
        ("knn", {"power": 1.0}),
        ("auto", {"members": ["gp"]}),
        ("auto", {"folds": 1}),
        ("auto", {"sharpness": 0.0}),
        ("tanimoto_svm", {"costs": [0.01]}),
        ("tanimoto_svm", {"epsilon": 0.8}),
        ("svm", {"costs": [0.01]}),
        ("svm", {"epsilon": 0.8}),
        ("ridge", {"penalties": [1e4]}),
        ("forest", {"n_trees": 3}),
        ("forest", {"column_fraction": 1.0}),
    ],
)
def test_head_parameter_changes_predictions(name: str, parameters: dict) -> None:
    features, y = made_features(80, kind=kind_of(name), width=100)
    default = build_head(name, **FEW_TREES.get(name, {})).fit(features, y).predict(features)
    assert not np.array_equal(build_head(name, **FEW_TREES.get(name, {}) | parameters).fit(features, y).predict(features), default)


def test_logistic_costs_change_predictions() -> None:
    features, y = made_features(80, kind="dense")
    y = labels_of(y, "classification")
    weak = build_head("logistic", "classification", costs=[1e-4]).fit(features, y).predict(features)
    assert np.ptp(weak) < np.ptp(build_head("logistic", "classification").fit(features, y).predict(features))


@pytest.mark.parametrize("name", ["tanimoto_svm", "svm", "ridge"])
def test_number_of_inner_folds_is_used(name: str) -> None:
    # One fold leaves nothing to validate on, so the middle candidate is taken, here the worst; five find a better one.
    features, y = made_features(80, kind=kind_of(name))
    candidates = {"penalties": [1.0, 1e6, 10.0]} if name == "ridge" else {"costs": [1.0, 1e-6, 10.0]}
    chosen, middle = (build_head(name, folds=n, **candidates).fit(features, y).predict(features) for n in (5, 1))
    assert np.ptp(middle) < 0.1 < 1 < np.ptp(chosen)


def test_tanimoto_svm_equals_scikit_learn_on_the_kernel_of_rdkit() -> None:
    smiles = ["C" * n + end for n in range(1, 9) for end in ("O", "N", "c1ccccc1", "C(=O)O")]
    y = np.sin(np.arange(len(smiles)))
    kernels = []
    for generator in (
        rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=65_536),
        rdFingerprintGenerator.GetAtomPairGenerator(fpSize=65_536),
    ):
        fingerprints = [generator.GetCountFingerprint(Chem.MolFromSmiles(text)) for text in smiles]
        kernels.append([[DataStructs.TanimotoSimilarity(a, b) for b in fingerprints] for a in fingerprints])
    kernel = np.mean(kernels, axis=0)
    spread = y.std()
    machine = SVR(kernel="precomputed", C=3.0, epsilon=0.05).fit(kernel, (y - y.mean()) / spread)
    features = feature_builders(["counts"])["counts"](smiles)
    head = build_head("tanimoto_svm", costs=[3.0]).fit(features, y)
    np.testing.assert_allclose(head.predict(features), machine.predict(kernel) * spread + y.mean(), atol=1e-6)


def test_tanimoto_svm_does_not_depend_on_the_unit_of_the_labels() -> None:
    features, y = made_features(60, kind="counts")
    plain, scaled = (build_head("tanimoto_svm").fit(features, values).predict(features) for values in (y, 1000 * y - 7))
    np.testing.assert_allclose(scaled, 1000 * plain - 7, rtol=1e-6)


def test_tanimoto_svm_uses_a_dense_block_beside_counts() -> None:
    counts, _ = made_features(80, kind="counts")
    dense, y = made_features(80, kind="dense", seed=1)
    both = FeatureSet("both", counts.blocks | dense.blocks, counts.valid)
    head = build_head("tanimoto_svm").fit(both.rows(np.arange(60)), y[:60])
    alone = build_head("tanimoto_svm").fit(counts.rows(np.arange(60)), y[:60])
    test = np.arange(60, 80)
    assert r2_score(y[test], head.predict(both.rows(test))) > r2_score(y[test], alone.predict(counts.rows(test))) + 0.3


@pytest.mark.parametrize(("name", "kind", "advice"), [("tanimoto_svm", "dense", "add counts"), ("svm", "counts", "'tanimoto_svm'")])
def test_support_vector_heads_refuse_the_wrong_kind_of_features(name: str, kind: str, advice: str) -> None:
    features, y = made_features(10, kind=kind)
    head = build_head(name)
    assert not head.supports(features)
    with pytest.raises(ConfigError, match=advice):
        head.fit(features, y)


@pytest.mark.parametrize("name", [name for name in HEADS if name != "tanimoto_svm"])
def test_dense_heads_cope_with_missing_and_infinite_numbers(name: str) -> None:
    features, y = made_features(60, kind="dense")
    block = features.blocks["dense"].copy()
    block[::5, 0], block[3, 1], block[:, 5] = np.nan, np.inf, np.nan
    task_type = HEADS[name].task_types[0]
    broken = FeatureSet("dense", {"dense": block}, features.valid)
    assert np.isfinite(build_head(name, task_type).fit(broken, labels_of(y, task_type)).predict(broken)).all()


def test_lightgbm_predicts_as_its_booster_on_its_columns() -> None:
    features, y = made_features(60, kind="counts")
    wide = sparse.csr_array(sparse.hstack([features.blocks["counts"], sparse.csr_array((60, 5), dtype=np.float32)]))
    head = build_head("lightgbm").fit(FeatureSet("wide", {"wide": wide}, features.valid), y)
    assert head.columns_.tolist() == list(range(12))
    np.testing.assert_array_equal(
        head.booster_.predict(features.blocks["counts"].toarray()), head.predict(FeatureSet("wide", {"wide": wide}, features.valid))
    )


def test_lightgbm_leaves_out_only_columns_that_cannot_split() -> None:
    # Constant and nonzero; all zero; varying among nonzero values; all missing; missing beside a constant.
    values = np.array([[2, 0, 1, np.nan, np.nan], [2, 0, 2, np.nan, 4], [2, 0, 1, np.nan, 4], [2, 0, 2, np.nan, np.nan]], np.float32)
    y = np.array([0.0, 1.0, 0.0, 1.0])
    for block in (values, sparse.csr_array(values)):
        head = build_head("lightgbm").fit(FeatureSet("odd", {"odd": block}, np.ones(4, bool)), y)
        assert head.columns_.tolist() in ([2, 4], [2, 3, 4])


@pytest.mark.parametrize("kind", ["counts", "dense"])
@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_lightgbm_gives_the_mean_where_no_column_can_split(task_type: str, kind: str) -> None:
    block = np.ones((4, 3), np.float32)
    features = FeatureSet(kind, {kind: sparse.csr_array(block) if kind == "counts" else block}, np.ones(4, bool))
    head = build_head("lightgbm", task_type).fit(features, np.array([0.0, 1.0, 1.0, 1.0]))
    assert head.predict(features) == pytest.approx([0.75] * 4)


def test_heads_refuse_labels_that_do_not_fit() -> None:
    features, y = made_features(6, kind="dense")
    with pytest.raises(ShapeError, match="6 rows"):
        build_head("ridge").fit(features, y[:3])
    with pytest.raises(DataError, match="labels 0 and 1, got 2"):
        build_head("logistic", "classification").fit(features, np.array([0, 1, 2, 0, 1, 1.0]))
    with pytest.raises(DataError, match="got 1 of 6"):
        build_head("ridge").fit(features, np.array([1.0, *[np.nan] * 5]))


def test_heads_refuse_other_features_than_in_training() -> None:
    features, y = made_features(10, kind="dense")
    head = build_head("ridge").fit(features, y)
    with pytest.raises(ShapeError, match="fitted on the blocks"):
        head.predict(FeatureSet("other", {"dense": features.blocks["dense"][:, :4]}, features.valid))


@pytest.mark.parametrize(
    ("name", "task_type", "parameters", "message"),
    [
        ("lightgb", "regression", {}, "did you mean 'lightgbm'"),
        ("ridge", "classification", {}, "use one of auto, lightgbm, tanimoto_svm, gp"),
        ("lightgbm", "ranking", {}, "unknown task type"),
        ("lightgbm", "regression", {"n_tree": 3}, "did you mean 'n_trees'"),
    ],
)
def test_build_head_refuses_what_it_does_not_know(name: str, task_type: str, parameters: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_head(name, task_type, **parameters)


def test_every_head_does_one_of_the_task_types() -> None:
    assert all(set(head.task_types) <= set(TASK_TYPES) and head.task_types for head in HEADS.values())


def test_head_predicts_no_rows_and_only_refused_rows() -> None:
    features, y = made_features(10, kind="dense")
    head = build_head("ridge").fit(features, y)
    assert head.predict(features.rows(np.array([], dtype=int))).shape == (0,)
    assert np.isnan(head.predict(FeatureSet("refused", features.blocks, np.zeros(10, bool)))).all()


def test_lightgbm_stops_early_where_more_trees_do_not_help_held_out_rows() -> None:
    features, _ = made_features(60, kind="dense")
    noise = np.random.default_rng(4).normal(size=60)
    head = build_head("lightgbm", patience=10, n_trees=300).fit(features, noise)
    assert head.n_trees_ == head.booster_.num_trees() < 100
    y = 5 * features.blocks["dense"][:, 0].astype(float)
    assert build_head("lightgbm", patience=10, n_trees=300).fit(features, y).n_trees_ > head.n_trees_


@pytest.mark.parametrize(("task_type", "n_rows"), [("regression", 2), ("regression", 4), ("regression", 16), ("classification", 16)])
def test_lightgbm_with_early_stopping_is_not_constant_on_few_rows(task_type: str, n_rows: int) -> None:
    features, y = made_features(n_rows, kind="dense")
    head = build_head("lightgbm", task_type, patience=10, n_trees=50).fit(features, labels_of(y, task_type))
    assert np.ptp(head.predict(features)) > 0.05
