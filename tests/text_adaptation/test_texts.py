"""Reading texts from files, and dividing them so that what belongs together stays on one side."""

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest
import zstandard

from molbt.data.seen_texts import text_key
from molbt.errors import ConfigError, DataError
from molbt.text_adaptation.texts import divide, read_texts

RECORDS = [
    {"id": 1, "text": "Inhibition of human CYP3A4", "rewrites": ["CYP3A4 is inhibited", "Inhibition of human CYP3A4"]},
    {"id": 2, "text": " Binding, to\nthe rat receptor ", "rewrites": []},
    {"id": 3, "text": "  ", "rewrites": None},
]
EXPECTED = [["Inhibition of human CYP3A4"], ["Binding, to\nthe rat receptor"]]
WITH_REWRITES = [["Inhibition of human CYP3A4", "CYP3A4 is inhibited"], ["Binding, to\nthe rat receptor"]]


def as_jsonl(records: list) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


@pytest.mark.parametrize("ending", ["jsonl", "ndjson", "jsonl.gz", "jsonl.zst", "csv", "csv.gz", "tsv", "parquet"])
def test_formats_give_the_same_texts(tmp_path: Path, ending: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / f"corpus.{ending}"
    cells = pd.DataFrame(RECORDS).assign(rewrites=lambda frame: [json.dumps(cell) if cell else "" for cell in frame["rewrites"]])
    if ending == "parquet":
        pd.DataFrame(RECORDS).to_parquet(path)
    elif "jsonl" in ending or ending == "ndjson":
        content = as_jsonl(RECORDS)
        path.write_bytes({"gz": gzip.compress, "st": zstandard.compress}.get(ending[-2:], bytes)(content))
    else:
        cells.to_csv(path, index=False, sep="\t" if ending == "tsv" else ",")
    assert read_texts(path) == EXPECTED
    assert "1 of 3 records" in caplog.text
    assert read_texts(path, ["text", "rewrites"]) == WITH_REWRITES


def test_txt_has_a_text_per_line_whatever_stands_in_it(tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"
    path.write_text("[3H]spiperone, binding\n\n {not json\nlast")
    assert read_texts(path) == [["[3H]spiperone, binding"], ["{not json"], ["last"]]


def test_format_is_read_where_the_name_does_not_tell_it(tmp_path: Path) -> None:
    path = tmp_path / "corpus"
    path.write_bytes(gzip.compress(as_jsonl(RECORDS)))
    assert read_texts(path, format="jsonl.gz") == EXPECTED
    with pytest.raises(ConfigError, match=r"cannot tell the format of .*corpus; name jsonl, txt, csv"):
        read_texts(path)
    with pytest.raises(ConfigError, match="docx"):
        read_texts(tmp_path / "corpus.docx")


@pytest.mark.parametrize(
    ("content", "columns", "reason"),
    [
        (as_jsonl(RECORDS) + b"{broken\n", ["text"], "cannot read line 4 of"),
        (as_jsonl([*RECORDS, ["a list"]]), ["text"], "expected a JSON object in line 4 of .*, found list"),
        (as_jsonl(RECORDS), ["texts"], "has the key texts; pass --column NAME"),
        (as_jsonl(RECORDS[2:]), ["text"], "expected texts in .* found none"),
        (b'{"text": "\xff"}\n', ["text"], "cannot read line 1 of"),
        (b'{"text": "' + b"a" * 1_000_001 + b'"}\n', ["text"], "line 1 of .* is longer than a megabyte"),
        (b"", ["text"], "is empty"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, content: bytes, columns: list[str], reason: str) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason):
        read_texts(path, columns)


def test_missing_column_of_a_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "corpus.csv"
    path.write_text("Text,y\na,1\n")
    with pytest.raises(DataError, match=r"column 'text' is not in .*; pass --column Text"):
        read_texts(path)


def many_records(n: int = 400) -> list[list[str]]:
    """Each with a wording; every tenth repeats the text of the one before in other letters."""
    records = [[f"assay number {number}", f"wording {number}"] for number in range(n)]
    for number in range(9, n, 10):
        records[number][0] = f" ASSAY  number {number - 1} "
    return records


def test_each_text_is_on_one_side_with_what_belongs_to_it() -> None:
    divided = divide(many_records(), held_out=0.25, seed=0)
    assert len(divided.training) + len(divided.held_out) == 800 - 40  # repeats are there once
    assert 0.15 < len(divided.held_out) / 760 < 0.35
    side = {text_key(text): name for name in ("training", "held_out") for text in getattr(divided, name)}
    assert len(side) == 760
    for first, second in many_records():
        assert side[text_key(first)] == side[text_key(second)]
    group = {text_key(text): number for text, number in zip(divided.held_out, divided.held_out_group, strict=True)}
    for first, second in many_records():
        assert group.get(text_key(first)) == group.get(text_key(second))
    # Each group but those with a repeat has two texts, those with one have three.
    sizes = pd.Series(divided.held_out_group).value_counts()
    assert set(sizes) == {2, 3}


def test_sides_depend_on_the_texts_and_the_seed_alone() -> None:
    divided = divide(many_records(), held_out=0.25, seed=0)
    shuffled = divide(many_records()[::-1], held_out=0.25, seed=0)
    assert {text_key(text) for text in shuffled.held_out} == {text_key(text) for text in divided.held_out}
    fewer = divide(many_records()[:200], held_out=0.25, seed=0)
    assert {text_key(text) for text in fewer.held_out} <= {text_key(text) for text in divided.held_out}
    assert set(divide(many_records(), held_out=0.25, seed=1).held_out) != set(divided.held_out)
    assert divide(many_records()[:-1], held_out=0.25, seed=0).sha256 != divided.sha256


def test_too_few_texts_are_refused() -> None:
    with pytest.raises(DataError, match="expected at least two texts on each side, received 1 to train on and 0 held out"):
        divide([["one"], ["ONE "]], held_out=0.01, seed=0)
