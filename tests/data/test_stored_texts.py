"""Texts written and read in portions, against pandas; and that memory does not grow with them."""

import io
import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pytest

from molbt.data import stored_texts
from molbt.data.stored_texts import StoredTexts, TextFile
from molbt.errors import DataError

TEXTS = [f"text {place} é" * (place % 5) for place in range(5_000)]


def written(path, texts, portion):
    with TextFile(path, "value") as file:
        for first in range(0, len(texts), portion):
            file.append(texts[first : first + portion])
    return StoredTexts(path, "value", len(texts))


@pytest.mark.parametrize("n", [0, 1, 4_999])
@pytest.mark.parametrize("portion", [1_000, 7_777])
def test_one_group_has_the_bytes_that_pandas_writes(n, portion, tmp_path):
    written(tmp_path / "x", TEXTS[:n], portion)
    buffer = io.BytesIO()
    pd.DataFrame({"value": TEXTS[:n]}, dtype="str").to_parquet(buffer, index=False)
    assert (tmp_path / "x").read_bytes() == buffer.getvalue()


@pytest.mark.parametrize("limit", ["_GROUP_ROWS", "_GROUP_BYTES"])
def test_bytes_do_not_depend_on_the_portions(limit, tmp_path, monkeypatch):
    monkeypatch.setattr(stored_texts, limit, 700)
    for portion in (1, 500, 5_000):
        assert list(written(tmp_path / str(portion), TEXTS, portion)) == TEXTS
    assert len({(tmp_path / str(portion)).read_bytes() for portion in (1, 500, 5_000)}) == 1
    assert pd.read_parquet(tmp_path / "1")["value"].tolist() == TEXTS


@pytest.mark.parametrize("n", [0, 1, 999, 1_000, 1_001, 5_000])
def test_blocks_hold_all_texts_in_order(n, tmp_path, monkeypatch):
    monkeypatch.setattr(stored_texts, "_GROUP_ROWS", 1_300)
    blocks = list(written(tmp_path / "x", TEXTS[:n], 640).blocks(1_000))
    assert [text for block in blocks for text in block] == TEXTS[:n]
    assert [len(block) for block in blocks] == [1_000] * (n // 1_000) + [n % 1_000] * (n % 1_000 > 0 or n == 0)


def test_texts_are_taken_by_number(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_texts, "_READ_AT_ONCE", 100)
    texts = written(tmp_path / "x", TEXTS, 640)
    numbers = np.array([4_999, 0, 99, 100, 100, 2_345])
    assert texts.take(numbers) == {number: TEXTS[number] for number in numbers.tolist()}
    assert texts.take([]) == {}
    assert texts.filled() == {number: text for number, text in enumerate(TEXTS) if text}


def test_what_is_no_column_of_texts_is_refused(tmp_path):
    path = tmp_path / "x"
    with pytest.raises(DataError, match="found no file"):
        list(StoredTexts(path, "value", 3))
    written(path, ["a", "b"], 5)
    for texts in (StoredTexts(path, "value", 3), StoredTexts(path, "other", 2)):
        with pytest.raises(DataError, match=r"rows of .* in .*x, found 2 of"):
            list(texts)
    pd.DataFrame({"value": ["a", None]}, dtype="str").to_parquet(path)
    with pytest.raises(DataError, match="has empty cells"):
        list(StoredTexts(path, "value", 2))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"cannot read .* as parquet"):
        list(StoredTexts(path, "value", 2))


def test_an_error_inside_the_block_closes_the_file(tmp_path):
    with pytest.raises(KeyError), TextFile(tmp_path / "x", "value") as file:
        raise KeyError
    assert file._file.closed


MEMORY = """
    import sys, tempfile
    from pathlib import Path
    from molbt.data.opened_source import open_source
    from molbt.data import stored_texts
    from molbt.data.rows import write_rows
    from molbt.data.stored_texts import StoredTexts

    stored_texts._GROUP_ROWS = 8_192

    def peak():
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024

    def read(n):
        table = Path(directory) / "table.smi"
        with open(table, "w") as file:
            for place in range(n):
                file.write(f"{'C' * 60}{place}\\n")
        with open_source(table, ["smiles"], {}, None) as source:
            rows = write_rows(source, ["smiles"], {}, Path(directory), lambda *step: None)
        texts = StoredTexts(Path(directory) / "values.smiles.parquet", "value", n)
        assert rows.n_unique["smiles"] == n == sum(map(len, texts.blocks(8_192)))
        return peak()

    with tempfile.TemporaryDirectory() as directory:
        print(read(20_000), read(160_000))
"""


def test_reading_a_table_takes_a_hash_for_each_value_and_no_more():
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(MEMORY)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    first, second = map(float, done.stdout.split())
    # Measured: 21 MB, of which hashes and their table are 6; with the texts in a dictionary it is 68.
    assert second - first < 40
