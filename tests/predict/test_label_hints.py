"""Hints about labels: class words, few different numbers, concentrations over orders of magnitude; and targets that cannot be learned."""

import numpy as np
import pytest

from molbt.errors import DataError
from molbt.predict.label_hints import label_hints
from molbt.predict.label_policy import LabelPolicy
from molbt.predict.labels import make_labels
from molbt.predict.table_labels import learnable_labels

SMILES = ["CCO", "CCN", "CCC", "CCCl", "CCBr", "CCF"]


def hints_of(cells, name="y", **policy):
    made = LabelPolicy(**policy)
    return label_hints(make_labels(cells, SMILES[: len(cells)], made, name=name), made)


@pytest.mark.parametrize(
    ("cells", "policy", "expected"),
    [
        ([-1, 1, 1, -1], {}, "only 2 different numbers (-1, 1).*--active-above 1"),
        ([1, 2, 1, 2], {}, "only 2 different numbers (1, 2).*--active-above 2"),
        ([0, 1, 2, 1], {}, "only 3 different numbers (0, 1, 2).*--active-above 2"),
        ([0, 1, 0, 1], {}, ""),
        ([1, 2, 3, 4, 1], {}, ""),
        ([1.5, 2, 3.5], {}, ""),  # as many numbers as labels
        ([5, 5, 5, 5], {}, ""),
        ([-1, 1, 1, -1], {"active_above": 0}, ""),
        ([-1, 1, 1, -1], {"task_type": "regression"}, ""),
    ],
)
def test_few_different_numbers_may_be_classes(cells, policy, expected):
    said = hints_of(cells, **policy)
    if not expected:
        assert said == []
        return
    start, end = expected.split(".*")
    assert len(said) == 1
    assert said[0].startswith(start)
    assert said[0].endswith(end)


@pytest.mark.parametrize(
    ("name", "cells", "policy", "expected"),
    [
        ("Ki", [1, 50, 1000, 7], {"unit": "nM"}, "--to pKi"),
        ("ki (nM)", [1, 50, 1000, 7], {"unit": "nM"}, "--to pKi"),
        ("IC50", [0.001, 50, 3, 7, 0, -2], {"unit": "µM"}, "--to pIC50"),
        ("potency", [1, 50, 1000, 7], {"unit": "ug/mL"}, "--to pXC50"),
        ("Ki", [1, 50, 100, 7], {"unit": "nM"}, ""),
        ("Ki", [1, 50, 1000, 7], {}, ""),
        ("Ki", [1, 50, 1000, 7], {"unit": "kcal/mol"}, ""),
        ("Ki", [1, 50, 1000, 7], {"unit": "nM", "scale": "pKi"}, ""),
        ("Ki", [1, 50, 1000, 7], {"unit": "nM", "active_below": 100}, ""),
        ("Ki", [-1, -50, -1000, 0, 0], {"unit": "nM"}, ""),
    ],
)
def test_a_concentration_over_orders_of_magnitude_is_better_a_logarithm(name, cells, policy, expected):
    said = hints_of(cells, name, **policy)
    assert bool(said) == bool(expected)
    if expected:
        positive = [value for value in cells if value > 0]
        assert f"span {np.log10(max(positive) / min(positive)):.1f} orders of magnitude" in said[0]
        assert expected in said[0]


@pytest.mark.parametrize(
    ("cells", "policy", "expected"),
    [
        (["Active", "inactive", "active", ""], {}, ["class 1 is Active, class 0 is inactive"]),
        (["yes", "no", "positive", "NO"], {}, ["class 1 is yes, positive, class 0 is no"]),
        ([True, False, True], {}, ["class 1 is True, class 0 is False"]),
        (["0", "active", "1"], {}, ["class 1 is active"]),
        (["0", "1", "1"], {}, []),
    ],
)
def test_class_words_are_told_and_kept(cells, policy, expected):
    assert hints_of(cells, **policy) == expected
    facts = make_labels(cells, SMILES[: len(cells)], LabelPolicy(**policy)).facts()
    said = ", ".join(f"class {number} is {facts[f'class_{number}']}" for number in (1, 0) if f"class_{number}" in facts)
    assert [said] * bool(said) == expected


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        (["active"] * 3, "all 3 labels are of class 1 (active), and one class cannot be learned"),
        ([0, 0, ""], "all 2 labels are of class 0, and one class cannot be learned"),
        ([7, "", ""], "1 label, and two or more are needed"),
        ([5, 5, 5], ""),
        ([0, 1, 1], ""),
    ],
)
def test_labels_that_cannot_be_learned_say_why(cells, problem):
    made, fine = (make_labels(values, SMILES[:3], name=name) for name, values in (("odd", cells), ("fine", [1.5, 2, 3])))
    assert made.problem == problem
    learnable, others = learnable_labels([made, fine])
    assert [entry.name for entry in learnable] == (["fine"] if problem else ["odd", "fine"])
    assert [entry.name for entry in others] == (["odd"] if problem else [])
    if problem:
        with pytest.raises(DataError, match="no target can be learned: 'odd': "):
            learnable_labels([made])


@pytest.mark.parametrize("cells", [["toxic", "nontoxic", "toxic"], ["low", "mid", "high"]])
def test_other_words_than_those_of_two_classes_are_told_which_there_are(cells):
    with pytest.raises(DataError, match="only two classes are known") as error:
        make_labels(cells, SMILES[:3], name="tox")
    for word in ("active", "inactive", "true", "false", "yes", "no", "positive", "negative"):
        assert word in str(error.value).split("only two classes")[1]


def test_an_empty_column_is_not_told_of_words():
    with pytest.raises(DataError, match="leaves no label") as error:
        make_labels(["", "", ""], SMILES[:3])
    assert "classes" not in str(error.value)


@pytest.mark.parametrize(
    ("policy", "task_type", "expected"),
    [
        (
            {"censored": "value", "max_spread": 3, "unit": "nM"},
            "classification",
            ["--censored value", "--max-spread 3", "--target-unit nM"],
        ),
        ({"conflicts": "mean"}, "classification", ["--conflicts mean"]),
        ({"conflicts": "keep"}, "classification", []),
        ({"active_above": 5, "unit": "nM", "scale": "pKi"}, "classification", []),
        ({"censored": "value", "max_spread": 3, "unit": "nM", "conflicts": "mean"}, "regression", []),
        ({"duplicates": "keep", "max_spread": 3, "conflicts": "mean"}, "regression", ["--max-spread 3", "--conflicts mean"]),
        ({}, "classification", []),
    ],
)
def test_a_policy_knows_what_changes_nothing(policy, task_type, expected):
    assert LabelPolicy(**policy).without_effect(task_type) == expected
