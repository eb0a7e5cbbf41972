"""Labels from cells: what is read, converted, classified, left out and combined, each with its count and its reason."""

import gzip
import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from molbt.errors import ConfigError, DataError, ShapeError
from molbt.predict.label_cells import read_cells
from molbt.predict.label_policy import LabelPolicy
from molbt.predict.labels import make_labels
from molbt.predict.units import P_SCALES, Conversion

NAN = math.nan
OTHERS = ["CCO", "CCN", "CCC", "CCCl", "CCBr", "CCF", "CCI", "CCS", "CCP", "CC#N"]


def labels_of(cells, *, smiles=None, relations=None, **policy):
    return make_labels(cells, smiles or OTHERS[: len(cells)], LabelPolicy(**policy), name="y", relations=relations)


# Reading


@pytest.mark.parametrize(
    ("cell", "value", "relation"),
    [
        ("5.5", 5.5, "="), (" 7 ", 7, "="), ("-1e-3", -0.001, "="), (".5", 0.5, "="), (3, 3, "="), (2.5, 2.5, "="),
        (np.float32(0.5), 0.5, "="),
        (">10000", 10000, ">"), ("> 5", 5, ">"), (">=5", 5, ">="), ("≥5", 5, ">="), (">>5", 5, ">"), ("<5", 5, "<"), ("≤ 5", 5, "<="),
        ("~3.2", 3.2, "~"), ("≈3", 3, "~"), ("=4", 4, "="), ("<-2", -2, "<"),
    ],
)  # fmt: skip
def test_numbers_and_relations_are_read(cell, value, relation):
    cells = read_cells([cell])
    assert (cells.values[0], cells.relations[0], cells.problems, cells.is_word[0]) == (pytest.approx(value), relation, [""], False)


@pytest.mark.parametrize("cell", ["", " ", None, NAN, pd.NA, pd.NaT, "NA", "n/a", "NaN", "-", "n.d."])
def test_an_empty_cell_is_no_problem(cell):
    cells = read_cells([cell])
    assert np.isnan(cells.values[0])
    assert cells.problems == [""]


@pytest.mark.parametrize("cell", ["oops", "1,5", "5 nm", "inf", math.inf, "1e999", "=<5", "><5", "5>", "1 2", "0x1A", "--5"])
def test_what_is_no_number_says_so(cell):
    cells = read_cells([cell])
    assert np.isnan(cells.values[0])
    assert str(cell)[:1] in cells.problems[0] or "relation" in cells.problems[0]


@pytest.mark.parametrize(
    ("cell", "label"),
    [("active", 1), ("Inactive", 0), ("TRUE", 1), ("false", 0), ("yes", 1), ("No", 0), (True, 1), (np.False_, 0), ("positive", 1)],
)
def test_words_name_classes(cell, label):
    cells = read_cells([cell])
    assert (cells.values[0], cells.is_word[0], cells.names_classes) == (label, True, True)


def test_a_relation_column_speaks_for_cells_without_one():
    cells = read_cells(["5", ">6", 7.0, "8", "9", "10"], [">", "<", "~", "", None, "roughly"])
    assert cells.relations.tolist()[:5] == [">", ">", "~", "=", "="]
    assert cells.problems[5] == "unknown relation 'roughly'"
    with pytest.raises(ShapeError, match="one relation for each of 1 labels, received 2"):
        read_cells(["1"], ["=", "="])


# Units


@pytest.mark.parametrize(
    ("unit", "value", "expected"),
    [
        ("nM", 1, 9),
        ("nM", 1000, 6),
        ("uM", 1, 6),
        ("µM", 10, 5),
        ("μM", 10, 5),
        ("mM", 1, 3),
        ("M", 1e-7, 7),
        ("pM", 50, 10.301029995663981),
    ],
)
def test_a_p_scale_is_minus_the_logarithm_of_the_molar_concentration(unit, value, expected):
    for scale in P_SCALES:
        assert Conversion(unit, scale)(np.array([float(value)]))[0] == pytest.approx(expected, abs=1e-12)


def test_concentrations_by_mass_need_the_molar_mass():
    # Ethanol, 46.069 g/mol (IUPAC atomic weights): 46.069 mg/L is 1 mM. What cannot be read has no mass.
    found = labels_of(
        ["46.069", "46.069", "46069", "1"], smiles=["CCO", "OCC.[Na+].[Cl-]", "C(C)O", "??"], unit="mg/L", scale="pKi", duplicates="keep"
    )
    assert found.values[:3] == pytest.approx([3, 3 + math.log10((46.069 + 58.443) / 46.069), 0], abs=1e-4)
    assert (found.counts.unconvertible, found.reasons[3]) == (1, "mg/L needs a molar mass, and the molecule cannot be read")
    per_ml = labels_of(["46.069"], smiles=["CCO"], unit="µg/mL", scale="pIC50")
    assert per_ml.values == pytest.approx([3], abs=1e-4)


def test_numbers_without_a_logarithm_are_left_out():
    found = labels_of(["100", "0", "-3", "1000"], unit="nM", scale="pIC50")
    np.testing.assert_array_equal(found.values, [7, NAN, NAN, 6])
    assert found.reasons == ["", *["zero or negative, which has no logarithm"] * 2, ""]
    assert (found.unit, found.counts.unconvertible, found.counts.labels) == ("pIC50", 2, 2)


@pytest.mark.parametrize(
    ("policy", "unit", "labels"),
    [
        ({}, None, [100, 5]),
        ({"unit": "%"}, "%", [100, 5]),
        ({"scale": "log10"}, "log10", [2, math.log10(5)]),
        ({"scale": "-log10", "unit": "nM"}, "-log10 nM", [-2, -math.log10(5)]),
    ],
)
def test_the_unit_of_the_labels_is_said(policy, unit, labels):
    found = labels_of(["100", "5"], **policy)
    assert found.unit == unit
    assert found.values == pytest.approx(labels)


@given(st.floats(1e-3, 1e9), st.sampled_from(["M", "mM", "uM", "nM", "pM", "fM"]))
def test_a_p_scale_can_be_taken_back(value, unit):
    exponent = {"M": 0, "mM": 3, "uM": 6, "nM": 9, "pM": 12, "fM": 15}[unit]
    label = Conversion(unit, "pIC50")(np.array([value]))[0]
    assert 10 ** (exponent - label) == pytest.approx(value, rel=1e-9)


def test_converted_activities_are_those_that_moleculeace_published(real_data):
    frame = pd.read_csv(real_data / "moleculeace" / "CHEMBL1862_Ki.csv.gz", dtype={"exp_mean [nM]": str})
    policy = LabelPolicy(unit="nM", scale="pKi", duplicates="keep")
    found = make_labels(frame["exp_mean [nM]"].tolist(), frame["smiles"].tolist(), policy)
    np.testing.assert_allclose(found.values, frame["y [pEC50/pKi]"], rtol=1e-12)
    assert found.counts.labels == 794


def test_bounds_of_a_real_assay_are_counted_and_turned_round(real_data):
    with gzip.open(real_data / "fs-mol" / "test" / "CHEMBL1066254.jsonl.gz", "rt") as file:
        frame = pd.DataFrame([json.loads(line) for line in file])
    arguments = frame["RegressionProperty"].tolist(), frame["SMILES"].tolist()
    published = pd.to_numeric(frame["LogRegressionProperty"]).to_numpy()
    measured = (frame["Relation"] == "=").to_numpy()
    dropped = make_labels(*arguments, LabelPolicy(unit="nM", scale="pKi", duplicates="keep"), relations=frame["Relation"].tolist())
    np.testing.assert_allclose(dropped.values, np.where(measured, published, NAN), rtol=1e-12)
    assert dropped.counts.censored == (~measured).sum() > 0


# Classes


@pytest.mark.parametrize(
    ("cells", "policy", "task_type"),
    [
        (["0", "1", ""], {}, "classification"),
        (["0", "1.0", "true"], {}, "classification"),
        ([True, False], {}, "classification"),
        (["active", "inactive", "unclear"], {}, "classification"),
        (["0", "1", "2"], {}, "regression"),
        (["0", ">1"], {}, "regression"),
        (["1", "1"], {"scale": "pKi", "unit": "nM"}, "regression"),
        (["0", "1"], {"task_type": "regression"}, "regression"),
        (["5", "6"], {"active_above": 5.5}, "classification"),
    ],
)
def test_regression_and_classification_are_told_apart(cells, policy, task_type):
    found = labels_of(cells, **policy)
    assert found.task_type == task_type
    assert found.summary().startswith(f"y: {task_type}")


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        # cells:                     4  6  7  >6  >5 >=6 <6 <=6 <5 ~6
        ({"active_above": 6.0}, [0, 1, 1, 1, NAN, 1, 0, NAN, 0, 1]),
        ({"active_below": 6.0}, [1, 1, 0, 0, NAN, NAN, 1, 1, 1, 1]),
    ],
)
def test_a_bound_is_used_where_it_decides_the_class(policy, expected):
    found = labels_of(["4", "6", "7", ">6", ">5", ">=6", "<6", "<=6", "<5", "~6"], **policy)
    np.testing.assert_array_equal(found.values, expected)
    assert found.counts.censored == np.isnan(expected).sum()
    assert found.counts.bounds_used == 6 - np.isnan(expected).sum()
    assert found.counts.approximate == 1
    assert all("does not decide" in reason for reason, value in zip(found.reasons, expected, strict=True) if np.isnan(value))


def test_a_bound_above_the_threshold_is_inactive_after_the_conversion_too():
    # >10 µM against 1 µM, as a concentration and as pIC50 6, where > has become <.
    for policy in ({"active_below": 1000.0}, {"scale": "pIC50", "active_above": 6.0}):
        found = labels_of([">10000", "<100", "500", ">10"], unit="nM", **policy)
        np.testing.assert_array_equal(found.values, [0, 1, 1, NAN])
        assert found.unit is None


def test_numbers_are_no_classes_without_a_threshold():
    with pytest.raises(DataError, match=r"'y' expects 0 and 1.*received 6.3 in row 2; pass a threshold"):
        labels_of(["0", "1", "6.3"], task_type="classification")
    with pytest.raises(DataError, match="received >1 in row 0"):
        labels_of([">1", "1"], task_type="classification")


def test_words_are_no_numbers():
    found = labels_of(["active", "5.5", "6"])
    assert (found.task_type, found.counts.unreadable, found.reasons[0]) == ("regression", 1, "a class where numbers are expected")


# Bounds


def test_bounds_are_dropped_or_taken_as_measured():
    cells = ["5", ">6", "<=4", "~5.5"]
    dropped = labels_of(cells)
    np.testing.assert_array_equal(dropped.values, [5, NAN, NAN, 5.5])
    assert (dropped.counts.censored, dropped.counts.bounds_used, dropped.counts.approximate) == (2, 0, 1)
    used = labels_of(cells, censored="value")
    np.testing.assert_array_equal(used.values, [5, 6, 4, 5.5])
    assert (used.counts.censored, used.counts.bounds_used) == (0, 2)
    assert used.summary() == "y: regression, 4 labels; used: bounds 2, approximate values 1"


# Replicates. Ethanol in four forms; the two hands of alanine; one molecule by itself.

ETHANOL = ["CCO", "OCC", "CC[O-].[Na+]", "C(C)O"]
HANDS = ["C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O"]


@pytest.mark.parametrize(
    ("values", "policy", "expected"),
    [
        ([5, 5.2, 5.9, 5.4], {}, [5.3, NAN, NAN, NAN]),
        ([5, 5.2, 5.9, 5.4], {"duplicates": "mean"}, [5.375, NAN, NAN, NAN]),
        ([5, 5.2, 5.9, 5.4], {"duplicates": "first"}, [5, NAN, NAN, NAN]),
        ([5, 5.2, 5.9, 5.4], {"duplicates": "keep"}, [5, 5.2, 5.9, 5.4]),
        ([5, 5.2, 6.1, 5.4], {}, [NAN] * 4),
        ([5, 5.2, 6.1, 5.4], {"max_spread": 2.0}, [5.3, NAN, NAN, NAN]),
        ([5, 5.2, 6.1, 5.4], {"conflicts": "mean"}, [5.425, NAN, NAN, NAN]),
        ([5, 5.2, 6.1, 5.4], {"conflicts": "keep"}, [5, 5.2, 6.1, 5.4]),
        ([NAN, 5.2, 5.4, NAN], {}, [NAN, 5.3, NAN, NAN]),
    ],
)
def test_replicates_of_a_molecule_give_one_label(values, policy, expected):
    found = labels_of([*values, 9], smiles=[*ETHANOL, "CCN"], **{"max_spread": 1.0, **policy})
    assert found.values == pytest.approx([*expected, 9], nan_ok=True)


def test_replicates_and_conflicts_say_where_they_went():
    cells, smiles = ["5", "5.2", "", "3", "7", "9"], ["CCO", "OCC", "C(C)O", "CCN", "NCC", "CCC"]
    found = labels_of(cells, smiles=smiles, max_spread=1.0)
    assert found.reasons[1] == "replicate of row 0, which carries the label of the 2 measurements"
    assert found.reasons[3] == found.reasons[4] == "the 2 measurements of this molecule, from row 3 on, are 4 apart"
    assert found.reasons[0] == found.reasons[2] == ""
    assert (found.counts.labels, found.counts.missing, found.counts.replicates, found.counts.conflicts) == (2, 1, 1, 2)
    assert found.summary() == "y: regression, 2 labels; left out: replicates of other rows 1, in conflict 2"


def test_the_default_spread_is_a_log_unit_or_the_standard_deviation_of_all_labels():
    # 3 and 30 nM are one log unit apart, and a little more in floating point.
    assert labels_of(["3", "30"], smiles=ETHANOL[:2], unit="nM", scale="pIC50").values == pytest.approx(
        [9 - math.log10(9) / 2 - 0.5, NAN], nan_ok=True
    )
    with pytest.raises(DataError, match=r"leaves no label in 2 rows \(empty 0, in conflict 2; row 0: the 2 measurements"):
        labels_of(["3", "31"], smiles=ETHANOL[:2], unit="nM", scale="pIC50")
    values = [10, 30, 50, 90]
    for spread, kept in ((20, True), (40, False)):
        found = labels_of([*values, 10 + spread], smiles=[*OTHERS[:4], "OCC"])
        assert found.max_spread == pytest.approx(np.std([*values, 10 + spread]))
        assert np.isfinite(found.values[0]) == kept


def test_stereoisomers_are_different_molecules_for_labels():
    found = labels_of(["5", "8", "5.4"], smiles=[*HANDS, "OC(=O)[C@H](C)N"], max_spread=1.0)
    partner = 1 if found.counts.conflicts else 0
    # RDKit says which of the two hands the third row is; it differs by 0.4 from the first and by 2.6 from the second.
    from rdkit import Chem

    same = [Chem.CanonSmiles(smiles) == Chem.CanonSmiles("OC(=O)[C@H](C)N") for smiles in HANDS]
    assert same[partner]
    assert found.counts.labels == (2 if same[0] else 1)


@pytest.mark.parametrize(
    ("classes", "policy", "expected"),
    [
        ("1 1 0 1", {}, [1, NAN, NAN, NAN]),
        ("0 1 0 0", {}, [0, NAN, NAN, NAN]),
        ("0 1 1 1", {"duplicates": "first"}, [0, NAN, NAN, NAN]),
        ("1 1 0 0", {}, [NAN] * 4),
        ("1 1 0 0", {"conflicts": "mean"}, [NAN] * 4),
        ("1 1 0 0", {"conflicts": "keep"}, [1, 1, 0, 0]),
        ("1 1 0 0", {"duplicates": "keep"}, [1, 1, 0, 0]),
    ],
)
def test_classes_of_a_molecule_are_decided_by_the_majority(classes, policy, expected):
    found = labels_of([*classes.split(), "1"], smiles=[*ETHANOL, "CCN"], **policy)
    np.testing.assert_array_equal(found.values, [*expected, 1])
    assert found.max_spread is None
    if np.isnan(expected).all():
        assert found.reasons[0] == "the 4 measurements of this molecule, from row 0 on, are as many of either class"


def test_molecules_that_cannot_be_read_are_no_replicates():
    found = labels_of(["5", "9", "7", "8"], smiles=["??", "??", None, None], max_spread=1.0)
    np.testing.assert_array_equal(found.values, [5, 9, 7, 8])


CELLS = st.sampled_from(["5", "5.5", "9", "0", "-1", "", "n.d.", ">6", "<=4", "~5", "active", "oops", None, 4.5])


@given(
    st.lists(st.tuples(CELLS, st.sampled_from([*ETHANOL, *HANDS, "CCN", "??"])), max_size=12),
    st.sampled_from(["drop", "value"]),
    st.sampled_from(["median", "mean", "first", "keep"]),
    st.sampled_from(["drop", "mean", "keep"]),
    st.sampled_from([None, 5.0]),
    st.sampled_from(["none", "pIC50"]),
)
def test_every_row_is_counted_once_and_keeps_its_place(rows, censored, duplicates, conflicts, threshold, scale):
    cells, smiles = [cell for cell, _ in rows], [text for _, text in rows]
    policy = {"censored": censored, "duplicates": duplicates, "conflicts": conflicts, "active_above": threshold, "scale": scale}
    try:
        found = labels_of([*cells, "7.5"], smiles=[*smiles, "CCCCCC"], unit="nM", **policy)
    except DataError:  # nothing is left
        return
    counts = found.counts
    assert counts.rows == len(rows) + 1 == len(found.values) == len(found.reasons)
    assert counts.labels == np.isfinite(found.values).sum()
    parts = (counts.labels, counts.missing, counts.unreadable, counts.unconvertible, counts.censored, counts.replicates, counts.conflicts)
    assert sum(parts) == counts.rows
    assert sum(bool(reason) for reason in found.reasons) == counts.rows - counts.labels - counts.missing
    assert not any(reason and np.isfinite(value) for reason, value in zip(found.reasons, found.values, strict=True))


# What is refused


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"task_type": "regresion"}, r"task_type \(--task-type\); did you mean 'regression'"),
        ({"censored": "tobit"}, "censored"),
        ({"duplicates": "average"}, "duplicates"),
        ({"conflicts": "vote"}, "conflicts"),
        ({"scale": "pic50", "unit": "nM"}, "did you mean 'pIC50'"),
        ({"scale": "pIC50"}, "made from a concentration, received no unit"),
        ({"scale": "pIC50", "unit": "nm"}, "the unit 'nm'; did you mean 'nM'"),
        ({"active_above": 1, "active_below": 2}, "one threshold"),
        ({"active_above": 1, "task_type": "regression"}, "--task-type regression"),
        ({"task_type": "classification", "scale": "log10"}, "--to log10 without a threshold"),
        ({"max_spread": -1}, "0 or more, received -1"),
        ({"max_spread": NAN}, "0 or more, received nan"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(policy, said):
    with pytest.raises(ConfigError, match=said):
        LabelPolicy(**policy)


def test_a_column_without_a_label_says_why():
    with pytest.raises(
        DataError,
        match=r"'y' leaves no label in 3 rows \(empty 1, neither number nor class 2; row 0: 'x' is no finite number such as 1200 or >10, "
        r"and no class word such as active\)",
    ):
        labels_of(["x", "", "y"])
    with pytest.raises(ShapeError, match="one cell of 'y' for each of 2 molecules, received 1"):
        labels_of(["1"], smiles=["CCO", "CCN"])


def test_units_in_cells_are_brought_to_the_one_that_is_named():
    column = ["100", "5 uM", ">2µM", "0.1mM", "3e2 nM", "", "40"]
    labels = make_labels(column, [f"{'C' * n}O" for n in range(1, 8)], LabelPolicy(unit="nM"), name="IC50")
    np.testing.assert_array_equal(labels.values, [100.0, 5_000.0, np.nan, 100_000.0, 300.0, np.nan, 40.0])
    assert labels.counts.censored == 1
    scaled = make_labels(column, [f"{'C' * n}O" for n in range(1, 8)], LabelPolicy(unit="nM", scale="pIC50"), name="IC50")
    np.testing.assert_allclose(scaled.values[[0, 1, 3]], [7.0, 6 - np.log10(5), 4.0])
    by_mass = make_labels(["2 mg/mL", "50"], ["CCO", "CCN"], LabelPolicy(unit="ug/mL"), name="IC50")
    np.testing.assert_array_equal(by_mass.values, [2_000.0, 50.0])


@pytest.mark.parametrize("unit", [None, "percent", "ug/mL"])
def test_units_in_cells_are_refused_where_it_is_not_clear_what_numbers_are_in(unit):
    with pytest.raises(
        DataError, match=r"'IC50' has units in its cells \(uM in 2 rows; 2 numbers have none\).*row 1 \(5 uM\).*--target-unit uM"
    ):
        make_labels(["100", "5 uM", "7 uM", "40"], ["CCO", "CCN", "CCC", "CCCl"], LabelPolicy(unit=unit), name="IC50")


def test_what_is_no_unit_of_concentration_is_no_number():
    labels = make_labels(["100", "5 percent", "7 uMol"], ["CCO", "CCN", "CCC"], LabelPolicy(unit="nM"), name="IC50")
    assert labels.counts.unreadable == 2
