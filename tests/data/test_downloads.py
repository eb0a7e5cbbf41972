import hashlib
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from local_server import redirect, send, serving

from molbt.data.downloads import download
from molbt.errors import DataError

CONTENT = b"smiles,y\nCCO,1\n" * 1_000
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()


def announcing_nonsense(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: soon\r\n\r\n" + CONTENT)


def test_a_file_arrives_whole_with_its_checksum(tmp_path: Path) -> None:
    answers = {
        "/a": CONTENT,
        "/moved": redirect("/a"),
        "/open": lambda handler: send(handler, CONTENT, announced=None),
        "/odd": announcing_nonsense,
    }
    with serving(answers) as address:
        for path in answers:
            assert download(f"{address}{path}", tmp_path / "a", sha256=CHECKSUM, schemes=("http",)) == CHECKSUM
            assert (tmp_path / "a").read_bytes() == CONTENT


def test_only_https_is_fetched_unless_told(tmp_path: Path) -> None:
    with serving({"/a": CONTENT}) as address, pytest.raises(DataError, match="begins with https://, got http://127"):
        download(f"{address}/a", tmp_path / "a", sha256=None)
    for url in (Path(__file__).as_uri(), "data:,hello", "/etc/passwd"):
        with pytest.raises(DataError, match="begins with https://"):
            download(url, tmp_path / "a", sha256=None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/a", "https://127.0.0.1:1/a"])
def test_a_redirect_to_another_scheme_is_refused(tmp_path: Path, target: str) -> None:
    with (
        serving({"/a": redirect(target)}) as address,
        pytest.raises(DataError, match=r"expected an address that begins with http://|is not allowed"),
    ):
        download(f"{address}/a", tmp_path / "a", sha256=None, schemes=("http",))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("answer", "limits", "message"),
    [
        (CONTENT[:-1], {"sha256": CHECKSUM}, f"expected the SHA-256 {CHECKSUM}"),
        (lambda handler: send(handler, CONTENT, announced=len(CONTENT) + 5), {"sha256": None}, f"expected {len(CONTENT) + 5} bytes"),
        (CONTENT, {"sha256": CHECKSUM, "max_bytes": 14_999}, "at most 14,999 bytes"),
        (lambda handler: send(handler, CONTENT, announced=None), {"sha256": None, "max_bytes": 14_999}, "at most 14,999 bytes"),
        (lambda handler: handler.send_error(500), {"sha256": None}, "HTTP Error 500"),
        (lambda handler: handler.wfile.write(b"nonsense\r\n\r\n"), {"sha256": None}, "cannot fetch"),
        (redirect("/a"), {"sha256": None}, "redirect"),
    ],
)
def test_what_is_not_right_leaves_nothing(tmp_path: Path, answer, limits, message) -> None:
    with serving({"/a": answer}) as address, pytest.raises(DataError, match=message):
        download(f"{address}/a", tmp_path / "a", schemes=("http",), **limits)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_stays_when_a_new_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with serving({"/a": CONTENT}) as address, pytest.raises(DataError, match="nothing was kept"):
        download(f"{address}/a", tmp_path / "a", sha256="0" * 64, schemes=("http",))
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_server_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    done = threading.Event()
    with serving({"/a": lambda handler: done.wait(20)}) as address:
        with pytest.raises(DataError, match="timed out"):
            download(f"{address}/a", tmp_path / "a", sha256=None, schemes=("http",), timeout=0.3)
        done.set()
    with pytest.raises(DataError, match="check the connection, or copy the file by hand"):
        download(f"{address}/a", tmp_path / "a", sha256=None, schemes=("http",), timeout=0.3)
