import csv
import gzip
import io
import logging
import random
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from rdkit import Chem

from molbt.data import records, streams
from molbt.data.tables import iter_frame, iter_table, numeric_column, read_table, require_column, write_table
from molbt.errors import ConfigError, DataError

COMPRESS = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}


def read_bytes(tmp_path, content: bytes, ending: str):
    path = tmp_path / f"table.{ending}"
    path.write_bytes(content)
    return read_table(path)


def rows_of(table) -> list[tuple[str, ...]]:
    return list(table.frame.itertuples(index=False, name=None))


LONG = b"C" * (streams.MAX_LINE_BYTES + 1)
UNCLOSED = "a quote is opened and not closed within 100 lines"

# ending, bytes, rows expected (None for a refused one), start of each reason by row
POLICIES = {
    "smi blank line": ("smi", b"CC a\n\nCO b\n", [("CC", "a"), None, ("CO", "b")], {1: "blank line"}),
    "smi only spaces": ("smi", b"CC a\n \t \nCO b\n", [("CC", "a"), None, ("CO", "b")], {1: "blank line"}),
    "smi one line end at the end": ("smi", b"CC a\n", [("CC", "a")], {}),
    "smi two line ends at the end": ("smi", b"CC a\n\n", [("CC", "a"), None], {1: "blank line"}),
    "smi no line end at the end": ("smi", b"CC a\nCO", [("CC", "a"), ("CO", "")], {}),
    "smi tab, and a name with spaces": ("smi", b"CC\tmy  own name \nCO\n", [("CC", "my  own name"), ("CO", "")], {}),
    "smi header": ("smi", b"SMILES ID\nCC a\n", [("CC", "a")], {}),
    "smi canonical header": ("txt", b"Canonical_Smiles\nCC\n", [("CC", "")], {}),
    "smi header word further down is a row": ("smi", b"CC a\nsmiles b\n", [("CC", "a"), ("smiles", "b")], {}),
    "smi no header": ("smiles", b"CC smiles\n", [("CC", "smiles")], {}),
    "smi byte order mark": ("smi", b"\xef\xbb\xbfCC a\n", [("CC", "a")], {}),
    "smi CRLF": ("smi", b"CC a\r\nCO\r\n", [("CC", "a"), ("CO", "")], {}),
    "smi CR alone": ("smi", b"CC\rCO\nCN\n", [None, ("CN", "")], {0: "carriage return inside the line"}),
    "smi latin-1": (
        "smi",
        b"CC a\nCO caf\xe9\nCN\n",
        [("CC", "a"), None, ("CN", "")],
        {1: "byte 0xE9 at place 7 of the line is not UTF-8"},
    ),
    "smi UTF-8 name": ("smi", "CO café\n".encode(), [("CO", "café")], {}),
    "smi NUL": ("smi", b"C\0C\nCN\n", [None, ("CN", "")], {0: "NUL character at byte 2"}),
    "smi control character is no space": ("smi", b"N\x1cC a\n\xc2\x85C b\n", [("N\x1cC", "a"), ("\x85C", "b")], {}),
    "smi quote": ("smi", b'"CC a\nCN\n', [('"CC', "a"), ("CN", "")], {}),
    "smi too long": ("smi", b"CC\n" + LONG + b"\nCN\n", [("CC", ""), None, ("CN", "")], {1: "longer than 1,000,000 bytes"}),
    "smi too long at the end": ("smi", b"CC\n" + LONG, [("CC", ""), None], {1: "longer than 1,000,000 bytes"}),
    "csv": ("csv", b"smiles,y\nCC,1\nCO,2\n", [("CC", "1"), ("CO", "2")], {}),
    "csv blank line": ("csv", b"smiles,y\nCC,1\n\nCO,2\n", [("CC", "1"), None, ("CO", "2")], {1: "blank line"}),
    "csv blank lines above the header": ("csv", b"\n\nsmiles,y\nCC,1\n", [("CC", "1")], {}),
    "csv empty cells are a row": ("csv", b"smiles,y\n,\n", [("", "")], {}),
    "csv cells that look missing stay text": ("csv", b"smiles,y\nNA,nan\n", [("NA", "nan")], {}),
    "csv CRLF": ("csv", b'smiles,y\r\nCC,1\r\n"CO",2\r\n', [("CC", "1"), ("CO", "2")], {}),
    "csv byte order mark": ("csv", b'\xef\xbb\xbf"smiles",y\nCC,1\n', [("CC", "1")], {}),
    "csv too many fields": ("csv", b"a,b,c\n1,2,3,4\n1,2,3\n", [None, ("1", "2", "3")], {0: "expected 3 fields, found 4"}),
    "csv too few fields": ("csv", b"a,b,c\n1,2\n1,2,3\n", [None, ("1", "2", "3")], {0: "expected 3 fields, found 2"}),
    "csv latin-1": ("csv", b"a,b\n\xe9,1\nCC,2\n", [None, ("CC", "2")], {0: "byte 0xE9 at place 1"}),
    "csv NUL": ("csv", b"a,b\nC\0,1\nCC,2\n", [None, ("CC", "2")], {0: "NUL character at byte 2"}),
    "csv CR alone": ("csv", b"a,b\nC\rC,1\nCC,2\n", [None, ("CC", "2")], {0: "carriage return inside the line"}),
    "csv too long": ("csv", b"a,b\n" + LONG + b",1\nCC,2\n", [None, ("CC", "2")], {0: "longer than 1,000,000 bytes"}),
    "csv quoted": ("csv", b'a,b\n"C,C","say ""x"""\n"",2\n', [("C,C", 'say "x"'), ("", "2")], {}),
    "csv quote within a field is text": ("csv", b'a,b\nC"C,5" pipe\n', [('C"C', '5" pipe')], {}),
    "csv field over lines": ("csv", b'a,b\n"x\n\ny",1\nCC,2\n', [("x\n\ny", "1"), ("CC", "2")], {}),
    "csv field over CRLF lines": ("csv", b'a,b\r\n"x\r\ny",1\r\nCC,2\r\n', [("x\r\ny", "1"), ("CC", "2")], {}),
    "csv field over 100 lines": ("csv", b'a,b\n"' + b"\n" * 99 + b'",1\n', [("\n" * 99, "1")], {}),
    "csv field over 101 lines": (
        "csv",
        b'a,b\n"' + b"x,1\n" * 100 + b'",1\n',
        [None, *[("x", "1")] * 99, None],
        {0: UNCLOSED, 100: UNCLOSED},
    ),
    "csv unclosed quote": ("csv", b'a,b\n"CC,1\nCO,2\nCN,3\n', [None, ("CO", "2"), ("CN", "3")], {0: UNCLOSED}),
    "csv unclosed quote, quotes later": ("csv", b'a,b\n"CC,1\nCO,2\n"CN",3\n', [None, ("CO", "2"), ("CN", "3")], {0: UNCLOSED}),
    "csv closing makes no whole row": (
        "csv",
        b'a,b\n"CC\nCO,2\nx"\n',
        [None, ("CO", "2"), None],
        {0: UNCLOSED, 2: "expected 2 fields, found 1"},
    ),
    "csv text after a quote": ("csv", b'a,b\n"CC"x,1\nCO,2\n', [None, ("CO", "2")], {0: "text after the closing quote of field 1"}),
    "csv unclosed at the end": ("csv", b'a,b\nCC,1\n"CO', [("CC", "1"), None], {1: UNCLOSED}),
    "tsv": ("tsv", b"a\tb\nC,C\t1\n\t\n", [("C,C", "1"), ("", "")], {}),
}


@pytest.mark.parametrize("case", POLICIES)
def test_odd_rows_are_handled_by_policy(tmp_path, case):
    ending, content, expected, reasons = POLICIES[case]
    table = read_bytes(tmp_path, content, ending)
    assert rows_of(table) == [row or ("",) * table.frame.shape[1] for row in expected]
    assert table.problems.keys() == reasons.keys()
    for row, reason in reasons.items():
        assert table.problems[row].startswith(reason)


@pytest.mark.parametrize("case", POLICIES)
def test_byte_offsets_point_at_the_rows(tmp_path, case):
    ending, content, expected, _ = POLICIES[case]
    table = read_bytes(tmp_path, content, ending)
    assert table.byte_offsets.dtype == np.int64
    for offset, row in zip(table.byte_offsets, expected, strict=True):
        assert offset == 0 or content[offset - 1 : offset] == b"\n" or content[:offset] == b"\xef\xbb\xbf"
        if row is not None:
            assert content[offset:].replace(b'"', b"").startswith(row[0].replace('"', "").encode())


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("case", ["smi blank line", "csv field over lines", "tsv", "smi too long"])
def test_compressed_and_plain_files_read_alike(tmp_path, case, compression):
    ending, content, expected, reasons = POLICIES[case]
    table = read_bytes(tmp_path, COMPRESS[compression](content), ending + compression)
    assert rows_of(table) == [row or ("",) * table.frame.shape[1] for row in expected]
    assert table.problems.keys() == reasons.keys()


@pytest.mark.parametrize("piece", [1, 2, 3, 7])
@pytest.mark.parametrize("case", POLICIES)
def test_the_size_of_a_read_changes_nothing(tmp_path, monkeypatch, case, piece):
    ending, content, *_ = POLICIES[case]
    if len(content) > 10_000:
        monkeypatch.setattr(streams, "MAX_LINE_BYTES", 50)
        content = content.replace(LONG, LONG[:51])
    whole = read_bytes(tmp_path, content, ending)
    monkeypatch.setattr(streams, "_PLAIN_PIECE", piece)
    pieces = read_bytes(tmp_path, content, ending)
    pd.testing.assert_frame_equal(pieces.frame, whole.frame)
    assert pieces.problems == whole.problems
    np.testing.assert_array_equal(pieces.byte_offsets, whole.byte_offsets)


text_cells = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)


@given(st.lists(st.tuples(text_cells, text_cells), min_size=1, max_size=8), st.sampled_from(["csv", "tsv"]))
def test_write_table_is_read_back(tmp_path_factory, rows, ending):
    path = tmp_path_factory.mktemp("round") / f"table.{ending}"
    frame = pd.DataFrame(rows, columns=["a", "b"], dtype="str")
    write_table(frame, path)
    table = read_table(path)
    assert rows_of(table) == rows
    assert not table.problems


@given(st.lists(st.lists(st.text("ab,\"\n\r\t 'é", max_size=6), min_size=2, max_size=2), max_size=6))
def test_csv_of_the_standard_library_is_read_back(tmp_path_factory, rows):
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL).writerows([["a", "b"], *rows])
    path = tmp_path_factory.mktemp("round") / "table.csv"
    path.write_bytes(buffer.getvalue().encode())
    assert rows_of(read_table(path)) == [tuple(row) for row in rows]


@given(st.binary(max_size=60), st.sampled_from(["csv", "tsv", "smi", "sdf"]))
def test_any_bytes_below_the_first_line_give_rows(tmp_path_factory, content, ending):
    path = tmp_path_factory.mktemp("any") / f"table.{ending}"
    path.write_bytes({"csv": b"a,b\n", "tsv": b"a\tb\n"}.get(ending, b"C\n") + content)
    table = read_table(path)
    assert all(0 <= row < len(table.frame) for row in table.problems)
    if ending == "smi":
        assert len(table.frame) == len((b"C\n" + content).removesuffix(b"\n").split(b"\n"))


def test_one_bad_row_costs_one_row(tmp_path):
    lines = [f"{'C' * (1 + i % 9)},{i}" for i in range(5_000)]
    for bad in ('"CC,7', "CC,7,8", "C\0,7", "", 'CC"', '"CC"",7'):
        broken = [*lines[:2_500], bad, *lines[2_501:]]
        path = tmp_path / "table.csv"
        path.write_text("\n".join(["smiles,y", *broken]))
        table = read_table(path)
        assert list(table.problems) == [2_500]
        assert table.frame["y"].drop(2_500).tolist() == [str(i) for i in range(5_000) if i != 2_500]


def test_iter_table_gives_the_rows_of_read_table(tmp_path):
    path = tmp_path / "table.smi.gz"
    path.write_bytes(gzip.compress(b"\n".join(b"" if i % 7 == 3 else b"C" * (i % 5 + 1) + b" %d" % i for i in range(103))))
    whole, chunks = read_table(path), list(iter_table(path, chunk_rows=10))
    assert [len(chunk.frame) for chunk in chunks] == [10] * 10 + [3]
    assert [chunk.first_row for chunk in chunks] == list(range(0, 103, 10))
    pd.testing.assert_frame_equal(pd.concat([chunk.frame for chunk in chunks]), whole.frame)
    assert isinstance(whole.frame.index, pd.RangeIndex)
    assert {row: reason for chunk in chunks for row, reason in chunk.problems.items()} == whole.problems
    assert sorted(whole.problems) == [i for i in range(103) if i % 7 == 3]
    np.testing.assert_array_equal(np.concatenate([chunk.byte_offsets for chunk in chunks]), whole.byte_offsets)


def test_iter_table_does_not_hold_the_file(tmp_path):
    path = tmp_path / "big.smi.gz"
    path.write_bytes(gzip.compress(b"".join(b"CCO %s\n" % random.Random(row).randbytes(200).hex().encode() for row in range(40_000))))
    tracemalloc.start()
    rows = sum(len(chunk.frame) for chunk in iter_table(path, chunk_rows=1_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == 40_000
    assert peak < 4_000_000  # of 16 MB of text


def test_standard_input_is_smi_unless_said_otherwise(monkeypatch):
    class Input:
        def __init__(self, content: bytes) -> None:
            self.buffer = io.BytesIO(content)

    monkeypatch.setattr("sys.stdin", Input(b"CC a\n"))
    table = read_table("-")
    assert (rows_of(table), table.source) == ([("CC", "a")], "standard input")
    monkeypatch.setattr("sys.stdin", Input(gzip.compress(b"smiles,y\nCC,1\n")))
    assert rows_of(read_table("-", format="csv.gz")) == [("CC", "1")]


@pytest.mark.parametrize(
    ("content", "ending"), [(b"", "csv"), (b"", "smi"), (b"\xef\xbb\xbf", "smi"), (gzip.compress(b""), "smi.gz"), (b"", "csv.zst")]
)
def test_an_empty_file_is_an_error(tmp_path, content, ending):
    with pytest.raises(DataError, match=r"table\..* is empty"):
        read_bytes(tmp_path, content, ending)


@pytest.mark.parametrize(("content", "ending"), [(b"smiles,y\n", "csv"), (b"smiles\n", "smi")])
def test_a_header_without_rows_is_an_empty_table(tmp_path, content, ending):
    table = read_bytes(tmp_path, content, ending)
    assert len(table.frame) == 0
    assert table.frame.columns[0] == "smiles"
    assert len(table.byte_offsets) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n\n", "blank line"),
        (b"a,b,a\n1,2,3\n", "'a' more than once"),
        (b"a,\xe9\n1,2\n", "0xE9"),
        (b'"a,b\n1,2\n', "not closed"),
        ("smiles,y\n".encode("utf-16"), "is UTF-16"),
        (gzip.compress(b"a,b\n1,2\n"), "is gzip-compressed"),
        (b"PK\x03\x04....", "zip archive"),
    ],
)
def test_a_file_without_a_usable_header_is_an_error(tmp_path, content, message):
    with pytest.raises(DataError, match=message) as error:
        read_bytes(tmp_path, content, "csv")
    assert "table.csv" in str(error.value)


def test_a_column_without_a_name_gets_one(tmp_path):
    assert list(read_bytes(tmp_path, b",smiles, y\n0,CC,1\n", "csv").frame) == ["Unnamed: 0", "smiles", "y"]


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_a_cut_file_names_itself_and_the_place(tmp_path, ending):
    text = b"".join(b"C%dCC%d name%d\n" % (i % 7 + 1, i % 7 + 1, i) for i in range(3_000))
    compressed = COMPRESS["." + ending](text)
    path = tmp_path / f"table.smi.{ending}"
    for cut in [1, 2, 5, 11, 18, 50, *range(100, len(compressed), 997), len(compressed) - 5, len(compressed) - 1]:
        path.write_bytes(compressed[:cut])
        chunks = []
        with pytest.raises(DataError, match=rf"table\.smi\.{ending} is cut short at its byte {cut:,}") as error:
            chunks.extend(iter_table(path, chunk_rows=100))
        assert all(chunk.problems == {} for chunk in chunks)
        decompressed = int(str(error.value).split("(")[1].split(" bytes")[0].replace(",", ""))
        assert len(chunks) == text[:decompressed].count(b"\n") // 100  # those that were whole
    path.write_bytes(compressed)
    assert len(read_table(path).frame) == 3_000


def test_a_corrupt_file_names_itself_and_the_place(tmp_path):
    text = b"".join(b"C%dCC%d name%d\n" % (i % 7 + 1, i % 7 + 1, i) for i in range(3_000))
    for ending in ("gz", "zst"):
        whole = zstandard.ZstdCompressor(write_checksum=True).compress(text) if ending == "zst" else gzip.compress(text)
        for place in range(0, len(whole), 401):
            if ending == "gz" and 4 <= place < 10:
                continue  # time, flags and system: no check covers them
            broken = bytearray(whole)
            broken[place] ^= 0x55
            path = tmp_path / f"table.smi.{ending}"
            path.write_bytes(broken)
            with pytest.raises(DataError, match=rf"table\.smi\.{ending} is (corrupt, within|cut short)"):
                read_table(path)


def test_compressed_files_in_several_parts_are_read_whole(tmp_path):
    for ending in ("gz", "zst"):
        compress = COMPRESS["." + ending]
        table = read_bytes(tmp_path, compress(b"CC a\nCO") + compress(b" b\nCN c\n"), f"smi.{ending}")
        assert rows_of(table) == [("CC", "a"), ("CO", "b"), ("CN", "c")]
    assert rows_of(read_bytes(tmp_path, gzip.compress(b"CC a\n") + bytes(512), "smi.gz")) == [("CC", "a")]


def test_sdf_records_become_rows(tmp_path):
    benzoic, broken = Chem.MolFromSmiles("OC(=O)c1ccccc1"), "bad\n\n\n  1  0  0  0  0  0  0  0  0  0999 V2000\n    0.0 0.0\nM  END\n"
    benzoic.SetProp("_Name", "benzoic acid")
    ethanol = Chem.MolToMolBlock(Chem.MolFromSmiles("CCO"), forceV3000=True)
    content = (
        Chem.MolToMolBlock(benzoic)
        + ">  <pIC50>  (1)\n5.5\n\n> <note>\ntwo\nlines\n\n$$$$\n"
        + broken
        + "> <pIC50>\n4\n\n$$$$\n\n$$$$\n"
        + ethanol
        + "> <smiles>\nOCC\n\n> <late>\nx\n\n$$$$\n"
        + Chem.MolToMolBlock(Chem.MolFromSmiles("C"))
    )
    table = read_bytes(tmp_path, content.replace("\n", "\r\n").encode(), "sdf")
    assert list(table.frame) == ["smiles", "name", "pIC50", "note", "field.smiles", "late"]
    assert rows_of(table) == [
        (Chem.CanonSmiles("OC(=O)c1ccccc1"), "benzoic acid", "5.5", "two\nlines", "", ""),
        ("",) * 6,
        ("",) * 6,
        ("CCO", "", "", "", "OCC", "x"),
        ("C", "", "", "", "", ""),
    ]
    assert table.problems.keys() == {1, 2}
    assert table.problems[2] == "blank record"


def test_sdf_record_without_its_end_line_costs_one_row(tmp_path):
    good = Chem.MolToMolBlock(Chem.MolFromSmiles("CC")) + "$$$$\n"
    pentavalent = Chem.MolToMolBlock(Chem.MolFromSmiles("C[N](C)(C)(C)C", sanitize=False), kekulize=False) + "$$$$\n"
    huge = "\n\n\n" + "x\n" * records.MAX_MOL_BLOCK_LINES + "M  END\n$$$$\n"
    latin = good.encode()[:-5] + b"> <note>\n25 \xb0C\n\n$$$$\n"
    table = read_bytes(tmp_path, b"".join([good.encode(), b"M  EN", pentavalent.encode(), huge.encode(), latin, good.encode()]), "sdf")
    assert table.frame["smiles"].tolist() == ["CC", "", "", "", "CC"]
    assert "greater than permitted" in table.problems[1]
    assert table.problems[2] == "mol block longer than 5,000 lines"
    assert "0xB0" in table.problems[3]


def test_parquet_keeps_types_and_rows(tmp_path):
    frame = pd.DataFrame(
        {"smiles": ["CC", "", "CO"], "y": [1.5, np.nan, 2.0], "count": [1, 2, 3], "active": [True, False, True]}, index=[5, 6, 9]
    )
    write_table(frame, tmp_path / "table.parquet")
    table = read_table(tmp_path / "table.parquet")
    pd.testing.assert_frame_equal(table.frame, frame.reset_index(drop=True))
    assert table.byte_offsets is None
    chunks = list(iter_table(tmp_path / "table.parquet", chunk_rows=2))
    assert [chunk.first_row for chunk in chunks] == [0, 2]
    # In chunks whole numbers have types that can miss values: one chunk does not know of those in another.
    pd.testing.assert_frame_equal(pd.concat([chunk.frame for chunk in chunks]), table.frame.astype({"count": "Int64", "active": "boolean"}))


def test_parquet_that_is_damaged_or_missing_is_an_error(tmp_path):
    path = tmp_path / "table.pq"
    with pytest.raises(DataError, match=r"table\.pq as parquet"):
        read_table(path)
    write_table(pd.DataFrame({"a": ["C" * 100] * 1_000}), tmp_path / "whole.parquet")
    path.write_bytes((tmp_path / "whole.parquet").read_bytes()[:-20])
    with pytest.raises(DataError, match=r"table\.pq as parquet"):
        list(iter_table(path))


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*none\.smi: No such file"):
        read_table(tmp_path / "none.smi")


@pytest.mark.parametrize(
    ("source", "format", "message"),
    [
        ("x.xlsx", None, r"cannot tell the format of x.xlsx .* Valid: csv, parquet, sdf, smi, tsv"),
        ("x", None, "cannot tell the format of x"),
        ("x.gz", None, "cannot tell the format of x.gz"),
        ("x.smi", "cvs", "unknown format 'cvs'; did you mean 'csv'"),
        ("x.parquet.gz", None, "parquet is read from a plain file"),
        ("-", "parquet", "parquet is read from a plain file, not from standard input"),
    ],
)
def test_an_unknown_format_is_refused_at_once(source, format, message):
    with pytest.raises(ConfigError, match=message):
        iter_table(source, format=format)


def test_chunk_rows_below_one_is_refused_at_once():
    with pytest.raises(ConfigError, match="chunk_rows must be at least 1, got 0"):
        iter_table("x.smi", chunk_rows=0)


def test_format_overrules_the_ending(tmp_path):
    path = tmp_path / "table.txt"
    path.write_bytes(b"smiles,y\nCC,1\n")
    assert rows_of(read_table(path, format="csv")) == [("CC", "1")]


def test_iter_frame_counts_rows_from_zero():
    frame = pd.DataFrame({"a": list("xyz")}, index=[7, 7, 9])
    chunks = list(iter_frame(frame, chunk_rows=2))
    assert [(chunk.first_row, chunk.frame["a"].tolist()) for chunk in chunks] == [(0, ["x", "y"]), (2, ["z"])]
    assert [len(chunk.frame) for chunk in iter_frame(frame.iloc[:0])] == [0]


@pytest.mark.parametrize(
    ("columns", "option", "message"),
    [
        (["SMILES", "y"], "--smiles-column", "column 'smiles' is not in assays.csv (columns: SMILES, y); pass --smiles-column SMILES"),
        (["y", "simles"], "--smiles-column", "column 'smiles' is not in assays.csv (columns: y, simles); pass --smiles-column simles"),
        (["x", "y"], "--smiles-column", "column 'smiles' is not in assays.csv (columns: x, y); pass --smiles-column NAME"),
        (["Smiles"], "views.a.column", "column 'smiles' is not in assays.csv (columns: Smiles); change views.a.column to 'Smiles'"),
        (
            ["smiles;y"],
            "--smiles-column",
            "column 'smiles' is not in assays.csv: its header 'smiles;y' is separated by ';'; save it with commas",
        ),
        (
            ["y\tsmiles"],
            "--smiles-column",
            r"column 'smiles' is not in assays.csv: its header 'y\tsmiles' is separated by '\t'; read it with --format tsv",
        ),
    ],
)
def test_a_missing_column_is_named_with_the_closest(columns, option, message):
    with pytest.raises(DataError) as error:
        require_column(pd.DataFrame(columns=columns), "smiles", "assays.csv", option)
    assert str(error.value) == message
    require_column(columns, columns[0], "assays.csv", option)


def test_a_missing_column_of_a_wide_table_lists_some():
    with pytest.raises(DataError, match=r"c18, c19 and 580 more\)"):
        require_column([f"c{i}" for i in range(600)], "smiles", "assays.csv", "--smiles-column")


def test_numeric_column_reads_numbers_and_counts_the_rest(tmp_path, caplog):
    table = read_bytes(tmp_path, b'y\n1.5\n -2e3 \n>10\n""\ninf\nnan\n1_000\n5,3\n', "csv")
    with caplog.at_level(logging.WARNING):
        values = numeric_column(table, "y")
    assert values.dtype == np.float64
    np.testing.assert_array_equal(values, [1.5, -2000, np.nan, np.nan, np.nan, np.nan, np.nan, np.nan])
    assert "4 cells of column 'y'" in caplog.text  # >10, inf, nan and 1_000; one cell is empty, and row 7 was refused
    assert "'>10' in row 2" in caplog.text
    with pytest.raises(DataError, match="pass --value y"):
        numeric_column(table, "Y", option="--value")


def test_numeric_column_of_parquet_keeps_missing_values(tmp_path, caplog):
    write_table(pd.DataFrame({"y": [1, None, 3], "flag": [True, False, True]}), tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    np.testing.assert_array_equal(numeric_column(table, "y"), [1, np.nan, 3])
    np.testing.assert_array_equal(numeric_column(table, "flag"), [1, 0, 1])
    assert not caplog.text


def test_write_table_keeps_every_digit(tmp_path):
    values = np.random.default_rng(0).normal(size=100) * 1e-7
    write_table(pd.DataFrame({"y": [*values, np.nan]}), tmp_path / "t.csv")
    np.testing.assert_array_equal(numeric_column(read_table(tmp_path / "t.csv"), "y"), [*values, np.nan])


def test_write_table_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "t.csv"
    write_table(pd.DataFrame({"a": ["old"]}), path)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DataError, match=r"cannot write .*t\.csv: No space left on device"):
        write_table(pd.DataFrame({"a": ["new"]}), path)
    assert path.read_text() == "a\nold\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.csv"]


def test_write_table_refuses_an_unknown_ending(tmp_path):
    with pytest.raises(ConfigError, match=r"t\.xlsx which format to write; end it in \.csv, \.tsv or \.parquet"):
        write_table(pd.DataFrame({"a": []}), tmp_path / "t.xlsx")
