"""``explain``: drawings, table and page of real molecules, and what cannot be explained."""

from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from molbt import Predictor
from molbt.cli.main import run
from molbt.data.sources import embedded_activities


@pytest.fixture(scope="module")
def predictors(tmp_path_factory):
    """Of LightGBM on counts, nearest neighbours for two targets, and ridge on descriptors; and a table with an unreadable row."""
    directory = tmp_path_factory.mktemp("explain")
    series = embedded_activities().iloc[::8].head(100).reset_index(drop=True)
    smiles, values = series["smiles"].tolist(), series["activity"].to_numpy()
    both = pd.DataFrame({"value": values, "class": (values > 6).astype(float)})
    plain = {"calibration": None, "applicability": False}
    Predictor(features="counts+descriptors", head_parameters={"n_trees": 40}, **plain).fit(smiles, values).save(directory / "trees")
    Predictor(features="counts", head="knn", **plain).fit(smiles, both).save(directory / "two")
    Predictor(features="descriptors", head="ridge", **plain).fit(smiles, values).save(directory / "dense")
    table = embedded_activities().iloc[1:60:8].reset_index(drop=True)
    table.loc[2, "smiles"] = "C1CC"
    table.to_csv(directory / "new.csv", index=False)
    return directory


def test_contributions_of_trees_are_drawn_and_add_up_to_the_predictions(predictors, tmp_path, capsys):
    command = ["explain", str(predictors / "new.csv"), "--predictor", str(predictors / "trees"), "--limit", "5"]
    assert run([*command, "-o", str(tmp_path / "e")]) == 0
    shown = capsys.readouterr().out
    assert "lies on atoms" in shown
    assert "The first 5 of 8 rows are explained; --limit 8 explains all." in shown
    assert "row 2 refused: unclosed ring" in shown
    assert "4 molecules explained, 1 refused" in shown
    directory = tmp_path / "e"
    assert sorted(path.name for path in directory.iterdir()) == [
        "contributions.csv", "index.html", "row_0.svg", "row_1.svg", "row_3.svg", "row_4.svg",
    ]  # fmt: skip
    for row in (0, 1, 3, 4):
        ElementTree.fromstring((directory / f"row_{row}.svg").read_text())
    frame = pd.read_csv(directory / "contributions.csv")
    assert frame.columns.tolist() == ["row", "block", "atom", "contribution"]
    table = pd.read_csv(predictors / "new.csv")
    expected = Predictor.load(predictors / "trees").predict(table["smiles"][:5])
    sums = frame.groupby("row")["contribution"].sum()
    np.testing.assert_allclose(sums, expected[[0, 1, 3, 4]], rtol=1e-6)
    page = (directory / "index.html").read_text()
    assert page.count("<figure") == 4
    assert "unclosed ring" in page
    assert set(frame["block"]) == {"base", "ecfp4", "atom_pair", "descriptors"}
    for block in ("ecfp4", "atom_pair", "descriptors"):
        assert f'<th class="number">{block}</th>' in page
    identifiers = [part.split('"')[0] for part in page.split(' id="')[1:]]
    assert len(set(identifiers)) == len(identifiers)


def test_masking_explains_any_head_on_counts_and_a_target_of_several(predictors, tmp_path, capsys):
    command = ["explain", str(predictors / "new.csv"), "--predictor", str(predictors / "two"), "--target", "value"]
    assert run([*command, "-o", str(tmp_path / "e")]) == 0
    shown = capsys.readouterr().out
    assert "Target value, head knn." in shown
    assert "these do not add up" in shown
    assert "explains all" not in shown
    frame = pd.read_csv(tmp_path / "e" / "contributions.csv")
    assert set(frame["block"]) == {"counts"}
    assert "What each block" not in (tmp_path / "e" / "index.html").read_text()
    masking = ["explain", str(predictors / "new.csv"), "--predictor", str(predictors / "trees"), "--method", "masking"]
    assert run([*masking, "-o", str(tmp_path / "m")]) == 0
    assert set(pd.read_csv(tmp_path / "m" / "contributions.csv")["block"]) == {"counts"}


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--predictor", "two"], 2, "this one has value, class"),
        (["--predictor", "two", "--target", "clas"], 2, "did you mean 'class'"),
        (["--predictor", "two", "--target", "class", "--method", "contributions"], 2, "the trees of 'lightgbm', received the head 'knn'"),
        (["--predictor", "dense"], 2, "use the head 'lightgbm', or add counts to the features"),
        (["--predictor", "trees", "--method", "shap"], 2, "unknown method 'shap'"),
        (["--predictor", "trees", "--smiles-column", "molecule"], 1, "columns: smiles, name, activity); pass --smiles-column"),
        (["--predictor", "nothing"], 1, "found no predictor.json"),
    ],
)
def test_what_cannot_be_explained_is_said_and_leaves_nothing(options, code, said, predictors, tmp_path, capsys):
    options[1] = str(predictors / options[1])
    assert run(["explain", str(predictors / "new.csv"), *options, "-o", str(tmp_path / "e")]) == code
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_directory_in_use_is_refused_before_the_work(predictors, tmp_path, capsys):
    (tmp_path / "notes").write_text("mine")
    assert run(["explain", str(predictors / "new.csv"), "--predictor", "nothing", "-o", str(tmp_path)]) == 2
    assert "is not empty; choose another" in capsys.readouterr().err
