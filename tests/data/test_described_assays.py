"""Descriptions and described assays: made files, and the public ones against what their description counts."""

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest

from molbt.data.assay_texts import assay_texts
from molbt.data.described_assays import DescribedAssays
from molbt.data.json_lines import read_json_lines
from molbt.errors import DataError


@pytest.mark.parametrize("key", ["task", "assay_id", "id", "name"])
@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "csv", "parquet"])
def test_texts_are_read_from_json_lines_and_tables(tmp_path: Path, key: str, ending: str):
    records = [{key: "A1", "text": "Inhibition of CYP3A4"}, {key: "A2", "text": "  "}, {key: "A3", "text": "Binding, to 5-HT2A"}]
    path = tmp_path / f"texts.{ending}"
    lines = "".join(json.dumps(record) + "\n" for record in records).encode()
    if ending == "csv":
        pd.DataFrame(records).to_csv(path, index=False)
    elif ending == "parquet":
        pd.DataFrame(records).to_parquet(path)
    else:
        path.write_bytes(gzip.compress(lines) if ending.endswith("gz") else lines)
    assert assay_texts(path) == {"A1": "Inhibition of CYP3A4", "A3": "Binding, to 5-HT2A"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"task": "A1", "text": "a"}\n{"task": "A1", "text": "b"}\n', "one description of 'A1'"),
        ('{"task": "A1", "text": "a"}\n[1]\n', "line 2"),
        ('{"task": "A1", "words": "a"}\n', "text"),
        ('{"assay": "A1", "text": "a"}\n', "task, assay_id, id or name"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str, said: str):
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(DataError, match=said):
        assay_texts(tmp_path / "a.jsonl")
    with pytest.raises(DataError, match=r"absent\.jsonl"):
        assay_texts(tmp_path / "absent.jsonl")


def test_a_repeated_description_is_one(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text('{"task": "A1", "text": "a"}\n' * 2)
    assert assay_texts(tmp_path / "a.jsonl") == {"A1": "a"}


def test_rows_are_those_of_a_source_a_split_and_folds(real_data: Path):
    described = DescribedAssays(real_data / "zero-shot")
    counts = {"train": (91_265, 1_094_902), "valid": (10_449, 104_701)}  # as the folder's description has them
    for split, (actives, inactives) in counts.items():
        rows = described.rows("toxcast", split, range(-1, 10))
        assert (rows["label"] == 1).sum() == actives
        assert (rows["label"] == 0).sum() == inactives
    training, test = described.rows("toxcast", "train", range(2, 10)), described.rows("toxcast", "valid", range(2))
    assert not set(training["smiles"]) & set(test["smiles"])
    assert not set(training["task"]) & set(test["task"])
    assert len(described.texts) == 833
    assert described.rows("fs-mol", "test", range(-1, 10))["task"].nunique() == 40


def test_labels_are_those_of_the_file(real_data: Path):
    described = DescribedAssays(real_data / "zero-shot")
    rows = described.rows("fs-mol", "valid", [3])
    activities = pd.read_parquet(real_data / "zero-shot" / "activities.parquet").astype({"assay_id": str})
    molecules = pd.read_parquet(real_data / "zero-shot" / "molecules.parquet")
    splits = read_json_lines(real_data / "zero-shot" / "assays.jsonl.gz").set_index("assay_id")
    merged = activities.merge(molecules, on="mol_id")
    of_split = (splits["source"] + splits["split"])[merged["assay_id"]].to_numpy() == "fs-molvalid"
    expected = merged[of_split & (merged["scaffold_fold"] == 3)]
    key = ["assay_id", "smiles", "label"]
    found = rows.rename(columns={"task": "assay_id"})[key].sort_values(key, ignore_index=True)
    pd.testing.assert_frame_equal(found, expected[key].sort_values(key, ignore_index=True), check_dtype=False)


def test_a_missing_file_is_named(tmp_path: Path):
    (tmp_path / "assays.jsonl.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"molecules\.parquet; name the folder"):
        DescribedAssays(tmp_path)
