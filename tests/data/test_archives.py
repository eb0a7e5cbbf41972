import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from molbt.data.archives import extract
from molbt.errors import DataError

GOOD = {"set/a.csv": b"smiles\nC\n", "set/deep/b.bin": bytes(range(256)) * 40, "top.txt": b""}


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for member, content in members:
            member.size = len(content) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def tar_member(name: str, kind: bytes = tarfile.REGTYPE, linkname: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, linkname
    return member


def zip_of(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for member, content in members:
            file.writestr(member, content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def zip_member(name: str, mode: int) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)
    member.create_system, member.external_attr = 3, mode << 16
    return member


def good_tar() -> bytes:
    return tar_of(*((tar_member(name), content) for name, content in GOOD.items()))


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_a_tar_file_is_unpacked_whatever_compresses_it(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    (tmp_path / "a").write_bytes(pack(good_tar()))
    extract(tmp_path / "a", tmp_path / "out")
    assert {str(path.relative_to(tmp_path / "out")): path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == GOOD


def test_a_zip_file_is_unpacked(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(zip_of(("set/", b""), *GOOD.items()))
    extract(tmp_path / "a", tmp_path / "out")
    assert {str(path.relative_to(tmp_path / "out")): path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == GOOD


def pax_tar(name: str, **headers: str) -> bytes:
    """One member whose extended header says something else than the plain one."""
    member = tar_member(name)
    member.pax_headers = headers
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    return buffer.getvalue()


def privileged(member: tarfile.TarInfo, mode: int) -> tarfile.TarInfo:
    member.mode = mode
    return member


def lying_zip(*, size: int) -> bytes:
    """A member that says in both of its headers that it has another size."""
    content = bytearray(zip_of(("zeros", bytes(100_000))))
    central = content.index(b"PK\x01\x02")
    for place in (22, central + 24):
        content[place : place + 4] = size.to_bytes(4, "little")
    return bytes(content)


def overlapping_zip() -> bytes:
    """Two names for the same bytes, as in zip bombs that pass a check of the ratio."""
    content = zip_of(("a", bytes(1_000)), ("b", bytes(1_000)))
    second = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 4)
    changed = bytearray(content)
    changed[second + 42 : second + 46] = (0).to_bytes(4, "little")  # where the first member begins
    changed[second + 46 : second + 47] = b"b"
    return bytes(changed)


def zip_with_zero_byte() -> bytes:
    content = zip_of(("aXb", b"x"))
    return content.replace(b"aXb", b"a\0b")


def encrypted_zip() -> bytes:
    content = bytearray(zip_of(("a", b"x")))
    content[6] |= 1  # the flag in the local header, and in the central directory
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


ATTACKS = {
    "tar parent": tar_of((tar_member("../evil"), b"x")),
    "tar parent inside": tar_of((tar_member("a/../../evil"), b"x")),
    "tar absolute": tar_of((tar_member("/tmp/evil"), b"x")),
    "tar backslash": tar_of((tar_member("..\\evil"), b"x")),
    "tar drive": tar_of((tar_member("C:evil"), b"x")),
    "tar control character": tar_of((tar_member("a\nb"), b"x")),
    "tar symbolic link": tar_of((tar_member("link", tarfile.SYMTYPE, "/etc/passwd"), b"")),
    "tar file through a symbolic link": tar_of((tar_member("d", tarfile.SYMTYPE, ".."), b""), (tar_member("d/evil"), b"x")),
    "tar hard link": tar_of((tar_member("link", tarfile.LNKTYPE, "../canary"), b"")),
    "tar character device": tar_of((tar_member("null", tarfile.CHRTYPE), b"")),
    "tar block device": tar_of((tar_member("disk", tarfile.BLKTYPE), b"")),
    "tar pipe": tar_of((tar_member("pipe", tarfile.FIFOTYPE), b"")),
    "tar sparse file": tar_of((tar_member("holes", tarfile.GNUTYPE_SPARSE), b"")),
    "tar twice": tar_of((tar_member("a"), b"x"), (tar_member("a"), b"y")),
    "tar file and directory": tar_of((tar_member("a"), b"x"), (tar_member("a/b"), b"y")),
    "tar twice but for capitals": tar_of((tar_member("Data/a"), b"x"), (tar_member("data/A"), b"y")),
    "tar twice but for accents": tar_of((tar_member("\u00e9"), b"x"), (tar_member("e\u0301"), b"y")),
    "tar file through a hard link": tar_of((tar_member("d", tarfile.LNKTYPE, "/etc"), b""), (tar_member("d/evil"), b"x")),
    "tar contiguous file through a link": tar_of((tar_member("l", tarfile.SYMTYPE, "/tmp"), b""), (tar_member("l/evil"), b"x")),
    "tar owner's rights": tar_of((privileged(tar_member("a"), 0o4755), b"x")),
    "tar group's rights": tar_of((privileged(tar_member("a"), 0o2755), b"x")),
    "tar path in an extended header": pax_tar("harmless", path="../evil"),
    "tar link in an extended header": pax_tar("harmless", path="/tmp/evil", linkpath="/etc/passwd"),
    "tar sparse file by extended headers": pax_tar(
        "a", **{"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9" * 12}
    ),
    "tar negative size": pax_tar("a", size="-1"),
    "tar size beyond the file": pax_tar("a", size=str(10**15)),
    "tar name too long": tar_of((tar_member("n" * 300), b"x")),
    "tar path too long": tar_of((tar_member("d/" * 3_000 + "a"), b"x")),
    "tar name of nothing": tar_of((tar_member("./../"), b"")),
    "tar zero byte": pax_tar("harmless", path="a\0b"),
    "tar cut": good_tar()[:700],
    "tar.gz cut": gzip.compress(good_tar())[:-30],
    "tar.gz flipped": gzip.compress(good_tar())[:40] + b"\xff\xff\xff" + gzip.compress(good_tar())[43:],
    "tar.bz2 flipped": b"BZh9" + b"\xff" * 100,
    "tar.gz bomb": gzip.compress(tar_of((tar_member("zeros"), bytes(30_000_000)))),
    "tar many members": tar_of(*((tar_member(f"f{place}"), b"") for place in range(1_001))),
    "zip parent": zip_of(("../evil", b"x")),
    "zip absolute": zip_of(("/tmp/evil", b"x")),
    "zip backslash": zip_of(("a\\..\\..\\evil", b"x")),
    "zip symbolic link": zip_of((zip_member("link", stat.S_IFLNK | 0o777), b"/etc/passwd")),
    "zip drive": zip_of(("C:/evil", b"x")),
    "zip twice": zip_of(("a", b"x"), ("a", b"y")),
    "zip twice but for capitals": zip_of(("A", b"x"), ("a", b"y")),
    "zip owner's rights": zip_of((zip_member("a", stat.S_IFREG | 0o4755), b"x")),
    "zip larger than it says": lying_zip(size=10),
    "zip smaller than it says": lying_zip(size=200_000),
    "zip overlapping members": overlapping_zip(),
    "zip zero byte": zip_with_zero_byte(),
    "zip name too long": zip_of(("n" * 300, b"x")),
    "zip device": zip_of((zip_member("null", stat.S_IFCHR | 0o666), b"")),
    "zip encrypted": encrypted_zip(),
    "zip bomb": zip_of(("zeros", bytes(30_000_000))),
    "zip many members": zip_of(*((f"f{place}", b"") for place in range(1_001))),
    "zip cut": zip_of(*GOOD.items())[:-30],
    "zip place before the start": zip_of(("a", b"x"))[:-6] + b"\xff\xff\xff\x7f\x00\x00",
    "no archive": b"smiles,y\nC,1\n" * 100,
    "no bytes": b"",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "canary").write_text("alive")
    (tmp_path / "archive").write_bytes(ATTACKS[name])
    with pytest.raises(DataError, match="archive"):
        extract(tmp_path / "archive", tmp_path / "out", max_members=1_000)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "canary"]
    assert (tmp_path / "canary").read_text() == "alive"
    assert not Path("/tmp/evil").exists()


def test_a_header_that_is_a_bomb_is_refused(tmp_path: Path) -> None:
    name = "n" * 40_000_000
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo(name), None)
    (tmp_path / "archive").write_bytes(gzip.compress(buffer.getvalue()))
    with pytest.raises(DataError, match="limit on bytes"):
        extract(tmp_path / "archive", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


def test_limits_are_those_that_were_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(good_tar())
    total = sum(map(len, GOOD.values()))
    for limits in ({"max_bytes": total - 1}, {"max_members": 2}, {"max_ratio": 0.5}):
        with pytest.raises(DataError, match="limit on"):
            extract(tmp_path / "a", tmp_path / "out", **limits)
    extract(tmp_path / "a", tmp_path / "out", max_bytes=total, max_members=3, max_ratio=1)


def test_an_existing_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(good_tar())
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="move it away"):
        extract(tmp_path / "a", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_archive_in_an_archive_stays_a_file(tmp_path: Path) -> None:
    inner = gzip.compress(tar_of((tar_member("zeros"), bytes(30_000_000))))
    (tmp_path / "a").write_bytes(tar_of((tar_member("inner.tar.gz"), inner)))
    extract(tmp_path / "a", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["inner.tar.gz"]
    assert (tmp_path / "out" / "inner.tar.gz").read_bytes() == inner


def test_rights_that_a_member_asks_for_are_not_given(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(tar_of((privileged(tar_member("a"), 0o1777), b"x")))
    extract(tmp_path / "a", tmp_path / "out")
    assert stat.S_IMODE((tmp_path / "out" / "a").stat().st_mode) & 0o7111 == 0
