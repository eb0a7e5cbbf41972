"""A representation that has collapsed is reported, or ends the run when asked; healthy runs are neither."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import pytest
from small_run import BARLOW_TWINS, DESCRIPTORS, FINGERPRINTS, small_config

from molbt.data.corpus import Corpus, prepare
from molbt.errors import TrainingError
from molbt.training.run_dir import RunDirectory
from molbt.training.trainer import pretrain

NOTHING = {**FINGERPRINTS["a"], "drop": 0.999999}  # every feature dropped: each molecule is the same nothing
TWO_KINDS = {"pairs": [["a", "descriptors"]], "encoder": {"dropout": 0.0}}
COLLAPSED: dict[str, dict[str, Any]] = {
    "both_views_zeroed": {"views": {"a": NOTHING, "b": {"like": "a"}}},
    "one_view_zeroed": {"views": {"a": FINGERPRINTS["a"], "b": {**NOTHING, "share_encoder": False}}},
    "masked_descriptors": {"views": {"a": FINGERPRINTS["a"], "descriptors": {**DESCRIPTORS, "mask": 0.999999}}, **TWO_KINDS},
}
HEALTHY: dict[str, dict[str, Any]] = {
    "fingerprints": {},
    "fingerprint_and_descriptors": {"views": {"a": FINGERPRINTS["a"], "descriptors": DESCRIPTORS}, **TWO_KINDS},
    "strong_redundancy": {"objectives": [{**BARLOW_TWINS, "redundancy_weight": 512.0}]},
    "small_data": {"objectives": [{**BARLOW_TWINS, "normalisation": "small_data"}]},
    "regression": {
        "views": {"a": FINGERPRINTS["a"], "descriptors": DESCRIPTORS},
        "objectives": [{"name": "regression", "source": "a", "target": "descriptors"}],
        **TWO_KINDS,
    },
}


def run(corpus: Corpus, output: Any, changes: Mapping[str, Any], **trainer: Any) -> None:
    pretrain(corpus, output, config=small_config(**{**changes, "trainer": trainer}))


@pytest.mark.parametrize("name", COLLAPSED)
def test_collapse_is_reported_after_each_epoch(corpus, tmp_path, caplog, name):
    run(corpus, tmp_path / "run", COLLAPSED[name])
    for epoch in (1, 2, 3):
        assert f"the representation looks collapsed after epoch {epoch} of" in caplog.text


@pytest.mark.parametrize("name", COLLAPSED)
def test_collapse_ends_the_run_when_asked(corpus, tmp_path, name):
    with pytest.raises(TrainingError, match=r"looks collapsed after epoch 1 of .*embedding_std\.\w+ is .*in a new run"):
        run(corpus, tmp_path / "run", COLLAPSED[name], stop_on_collapse=True)
    assert pd.read_csv(tmp_path / "run" / "metrics.csv")["step"].tolist() == [4]
    assert RunDirectory(tmp_path / "run").load_checkpoint() is None
    assert not (tmp_path / "run" / "model").exists()


def test_molecules_that_are_all_alike_collapse(tmp_path):
    # Alkanes have no radical, no azide and no isothiocyanate.
    constant = {**DESCRIPTORS, "names": ["NumRadicalElectrons", "fr_azide", "fr_isothiocyan"], "mask": 0.0}
    changes = {"views": {"a": constant, "b": {**constant, "share_encoder": False}}, "encoder": {"dropout": 0.0}}
    carbons = ["C" * n for n in range(1, 80)]
    corpus = prepare(carbons, small_config(**changes), directory=tmp_path / "corpus")
    with pytest.raises(TrainingError, match="looks collapsed after epoch 1"):
        run(corpus, tmp_path / "run", changes, stop_on_collapse=True)


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_run_is_not_called_collapsed(corpus, tmp_path, caplog, name):
    run(corpus, tmp_path / "run", HEALTHY[name], stop_on_collapse=True)
    assert "collapsed" not in caplog.text
