"""Partners of actives, against the labels they are made from."""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from molbt.cli.main import run
from molbt.data.active_pairs import active_pairs
from molbt.errors import DataError


def measured(seed: int = 0) -> pd.DataFrame:
    """Assays of 1 to 30 molecules, some measured twice, some with both labels."""
    draw = np.random.default_rng(seed)
    rows = [
        {"smiles": f"M{molecule}", "task": f"A{assay}", "label": float(draw.random() < 0.5)}
        for assay in range(12)
        for molecule in draw.integers(0, 40, 1 + 3 * assay)
    ]
    return pd.DataFrame(rows)


def labels_of(rows: pd.DataFrame) -> dict[tuple[str, str], set[float]]:
    return rows.groupby(["task", "smiles"])["label"].agg(set).to_dict()


@pytest.mark.parametrize("inactives", [False, True])
@pytest.mark.parametrize("partners", [1, 3])
def test_each_active_has_its_partners(partners, inactives):
    rows = measured()
    truth = labels_of(rows)
    pairs = active_pairs(rows, partners=partners, inactives=inactives)
    assert (pairs["smiles"] != pairs["partner"]).all()
    assert not pairs.duplicated(["smiles", "partner", "task"]).any()
    for smiles, partner, task, label in pairs.itertuples(index=False):
        assert truth[task, smiles] == {1.0}
        assert truth[task, partner] == {label}
    for task in rows["task"].unique():
        members = {label: [s for (t, s), found in truth.items() if t == task and found == {label}] for label in (0.0, 1.0)}
        own = pairs[pairs["task"] == task]
        expected = min(partners, len(members[1.0]) - 1) if len(members[1.0]) > 1 else 0
        actives = own[own["label"] == 1]
        assert Counter(actives["smiles"]) == (dict.fromkeys(members[1.0], expected) if expected else {})
        assert Counter(actives["partner"]) == Counter(actives["smiles"])
        with_inactives = own[own["label"] == 0]
        assert len(with_inactives) == (len(members[1.0]) * min(partners, len(members[0.0])) if inactives else 0)


def test_partners_are_random_and_repeatable():
    rows = measured()
    first = active_pairs(rows, random_state=0)
    pd.testing.assert_frame_equal(first, active_pairs(rows, random_state=0))
    assert not first.equals(active_pairs(rows, random_state=1))


def test_what_cannot_be_paired_is_refused():
    with pytest.raises(DataError, match="two actives"):
        active_pairs(pd.DataFrame({"smiles": ["C", "CC", "CCC"], "task": ["a", "a", "b"], "label": [1.0, 0.0, 1.0]}), inactives=True)
    with pytest.raises(DataError, match=r"labels 0 and 1, received 0\.5 in row 1"):
        active_pairs(pd.DataFrame({"smiles": ["C", "CC"], "task": ["a", "a"], "label": [1.0, 0.5]}))


def test_the_command_pairs_a_table_of_ones_own(tmp_path: Path, capsys) -> None:
    rows = measured()
    table, output = tmp_path / "measured.csv", tmp_path / "pairs.csv"
    incomplete = pd.DataFrame({"smiles": ["M1", "", "M2"], "task": ["", "A0", "A0"], "label": ["1", "1", ""]})
    pd.concat([rows.astype(str), incomplete]).rename(columns={"smiles": "structure", "label": "hit"}).to_csv(table, index=False)
    command = ["data", "pairs", str(table), "-o", str(output), "--smiles-column", "structure", "--label-column", "hit"]
    assert run([*command, "--partners", "2", "--inactives"]) == 0
    expected = active_pairs(rows, partners=2, inactives=True)
    told = capsys.readouterr().out
    assert f"{int((expected['label'] == 1).sum()):,} pairs of actives, {int((expected['label'] == 0).sum()):,} of an active and an" in told
    pd.testing.assert_frame_equal(pd.read_csv(output), expected, check_dtype=False)


@pytest.mark.parametrize(("options", "told"), [(["--inactives"], "--inactives"), ([], "a table")])
def test_options_of_pairs_of_molecules_need_partners(tmp_path: Path, capsys, options, told) -> None:
    measured().to_csv(tmp_path / "measured.csv", index=False)
    table = [] if options else [str(tmp_path / "measured.csv")]
    assert run(["data", "pairs", *table, "-o", str(tmp_path / "pairs.csv"), *options]) != 0
    assert told in capsys.readouterr().err
    assert not (tmp_path / "pairs.csv").exists()


def test_options_of_the_other_source_are_refused(tmp_path: Path, capsys) -> None:
    measured().to_csv(tmp_path / "measured.csv", index=False)
    command = ["data", "pairs", "-o", str(tmp_path / "pairs.csv"), "--partners", "1"]
    assert run([*command, str(tmp_path / "measured.csv"), "--part", "valid"]) != 0
    assert "--part is for FS-Mol" in capsys.readouterr().err
    assert run([*command, "--task-column", "assay"]) != 0
    assert "--task-column is for a table of your own" in capsys.readouterr().err
    assert not (tmp_path / "pairs.csv").exists()
