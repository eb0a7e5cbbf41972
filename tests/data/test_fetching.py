import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest
from local_server import serving

from molbt.data.catalogue import DataSet, catalogue, find_data_set, verify
from molbt.data.fetching import get
from molbt.errors import ConfigError, DataError

CONTENT = b"smiles,y\nCCO,1\n"
PATH = "sets/one.csv.gz"


def a_set(*, urls: dict[str, str] | None = None, archive: str | None = None) -> DataSet:
    checksum = hashlib.sha256(b"as laid down").hexdigest()
    return DataSet("one", "One", 1, "MIT", "a shelf", 12, {PATH: checksum}, urls or {}, archive)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source" / "sets").mkdir(parents=True)
    (tmp_path / "source" / PATH).write_bytes(b"as laid down")
    return tmp_path / "source"


def test_a_set_is_copied_from_a_folder_that_has_it_and_once(tmp_path: Path, source: Path) -> None:
    lines: list[str] = []
    get(a_set(), tmp_path / "out", source=source, progress=lines.append)
    assert (tmp_path / "out" / PATH).read_bytes() == b"as laid down"
    assert verify(a_set(), tmp_path / "out") == {PATH: "ok"}
    get(a_set(), tmp_path / "out", progress=lines.append)  # no source: nothing is left to do
    assert len(lines) == 1


def test_a_damaged_source_is_not_copied(tmp_path: Path, source: Path) -> None:
    (source / PATH).write_bytes(b"something else")
    with pytest.raises(DataError, match="nothing was copied"):
        get(a_set(), tmp_path / "out", source=source)
    assert verify(a_set(), tmp_path / "out") == {PATH: "missing"}
    assert list((tmp_path / "out" / "sets").iterdir()) == []


def test_a_file_that_differs_is_not_overwritten(tmp_path: Path, source: Path) -> None:
    (tmp_path / "out" / "sets").mkdir(parents=True)
    (tmp_path / "out" / PATH).write_bytes(b"the user's own")
    assert verify(a_set(), tmp_path / "out") == {PATH: "differs"}
    with pytest.raises(DataError, match="move it away"):
        get(a_set(), tmp_path / "out", source=source)
    assert (tmp_path / "out" / PATH).read_bytes() == b"the user's own"


def test_what_cannot_be_checked_is_fetched_only_when_that_is_accepted(tmp_path: Path) -> None:
    with serving({"/One.csv": CONTENT}) as address:
        data_set = a_set(urls={PATH: f"{address}/One.csv"})
        with pytest.raises(DataError, match=r"checksum of .*One\.csv is unknown.*--accept-unverified"):
            get(data_set, tmp_path, schemes=("http",))
        assert verify(data_set, tmp_path) == {PATH: "missing"}
        get(data_set, tmp_path, accept_unverified=True, schemes=("http",))
    assert gzip.decompress((tmp_path / PATH).read_bytes()) == CONTENT  # packed, as its name says
    record = json.loads((tmp_path / f"{PATH}.origin.json").read_text())
    assert record["sha256"] == hashlib.sha256((tmp_path / PATH).read_bytes()).hexdigest()
    assert verify(data_set, tmp_path) == {PATH: "unverified"}
    get(data_set, tmp_path)  # it is there: nothing is fetched
    (tmp_path / PATH).write_bytes(b"changed since")
    assert verify(data_set, tmp_path) == {PATH: "differs"}
    assert sorted(path.name for path in (tmp_path / "sets").iterdir()) == ["one.csv.gz", "one.csv.gz.origin.json"]


def test_https_alone_is_fetched_by_default(tmp_path: Path) -> None:
    with serving({"/One.csv": CONTENT}) as address, pytest.raises(DataError, match="begins with https://"):
        get(a_set(urls={PATH: f"{address}/One.csv"}), tmp_path, accept_unverified=True)


def test_an_archive_of_a_set_is_unpacked_below_its_folder(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo("one.csv.gz")
        member.size = len(b"as laid down")
        tar.addfile(member, io.BytesIO(b"as laid down"))
    with serving({"/all": buffer.getvalue()}) as address:
        data_set = a_set(archive=f"{address}/all")
        with pytest.raises(DataError, match=r"checksum of .*/all is unknown"):
            get(data_set, tmp_path, schemes=("http",))
        get(data_set, tmp_path, accept_unverified=True, schemes=("http",))
    assert verify(data_set, tmp_path) == {PATH: "ok"}
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "sets"]


def test_a_set_without_an_address_says_where_it_is_from(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no address is known for sets/one\.csv\.gz of one; .* by hand\. Origin: a shelf"):
        get(a_set(), tmp_path, accept_unverified=True)


def test_every_set_of_the_catalogue_has_files_with_checksums_and_a_card() -> None:
    cards = Path(__file__).parents[2] / "data" / "cards"
    for name, data_set in catalogue().items():
        assert data_set.files, name
        assert all(len(checksum) == 64 and set(checksum) <= set("0123456789abcdef") for checksum in data_set.files.values())
        assert all(not Path(path).is_absolute() and ".." not in Path(path).parts for path in data_set.files)
        assert set(data_set.urls) <= set(data_set.files)
        assert all(url.startswith("https://") for url in [*data_set.urls.values(), *filter(None, [data_set.archive])])
        card = (cards / f"{name}.md").read_text(encoding="utf-8")
        assert data_set.licence in card, name
        assert f"{data_set.rows:,}" in card, name


def test_an_unknown_set_is_named_with_the_closest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'moleculeace'"):
        find_data_set("moleculace")


def test_the_public_files_are_those_of_the_catalogue(real_data: Path) -> None:
    for data_set in catalogue().values():
        assert set(verify(data_set, real_data).values()) == {"ok"}, data_set.name
        assert sum((real_data / path).stat().st_size for path in data_set.files) == data_set.size, data_set.name


def test_a_record_that_is_no_json_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "sets").mkdir()
    (tmp_path / PATH).write_bytes(b"x")
    for content, said in (("[]", "expected one JSON object"), ("{}", "expected JSON with 'sha256'"), ("{", "is not valid JSON")):
        (tmp_path / f"{PATH}.origin.json").write_text(content)
        with pytest.raises(DataError, match=said):
            verify(a_set(), tmp_path)
