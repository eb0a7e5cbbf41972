"""Descriptions from elsewhere: one object of bounded size, or an error of ours."""

import json
import time
from pathlib import Path

import pytest

from molbt.data.json_files import read_json
from molbt.errors import CheckpointError, DataError

HOSTILE = {
    "nothing": b"",
    "no JSON": b"{",
    "a list": b"[1]",
    "a word": b'"text"',
    "no UTF-8": b'{"a": "\xff"}',
    "brackets in brackets": b"[" * 200_000,
    "sections in sections": b'{"a":' * 200_000,
    "a number of 5,000 digits": b'{"a": ' + b"9" * 5_000 + b"}",
    "a pickle": b"\x80\x04N.",
    "Python": b"__import__('os').system('true')",
}


def test_an_object_comes_back(tmp_path: Path) -> None:
    content = {"a": [1, 2.5, None, "é"], "b": {"c": True}}
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert read_json(tmp_path / "a.json", remedy="write it again") == content


@pytest.mark.parametrize("name", HOSTILE)
def test_anything_else_is_refused_with_a_remedy(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(HOSTILE[name])
    for kind in (CheckpointError, DataError):
        with pytest.raises(kind, match=r"a\.json.*; write it again"):
            read_json(tmp_path / "a.json", remedy="write it again", error=kind)


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "a.json", "wb") as file:
        file.truncate(1 << 40)  # all holes
    started = time.process_time()
    with pytest.raises(CheckpointError, match="has 1,099,511,627,776 bytes; a description of this kind has at most 8,388,608"):
        read_json(tmp_path / "a.json", remedy="write it again")
    assert time.process_time() - started < 30


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="found no file; write it again"):
        read_json(tmp_path / "nowhere.json", remedy="write it again")
