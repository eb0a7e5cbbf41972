"""How errors are worded."""

import json

import pytest

from molbt.errors import MissingDependencyError, require, suggestion


def test_missing_package_is_named_with_the_line_that_brings_it():
    with pytest.raises(MissingDependencyError, match=r"'no_such_package'.*pip install 'molbt\[hpo\]'") as caught:
        require("no_such_package", extra="hpo", purpose="Tuning heads")
    assert isinstance(caught.value, ImportError)
    assert require("json", extra="hpo", purpose="Tuning heads") is json


def test_suggestion_names_the_closest_and_all_valid_names():
    assert suggestion("epoch", ["seed", "epochs"]) == "; did you mean 'epochs'? Valid: epochs, seed"
    assert suggestion("zzz", []) == ". Valid: none"
