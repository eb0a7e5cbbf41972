"""The commands for public data sets, run in this process."""

from pathlib import Path

from molbt.cli.main import run


def test_data_list_names_licence_and_origin(capsys) -> None:
    assert run(["data", "list"]) == 0
    printed = capsys.readouterr().out
    assert "CC BY-NC-SA 4.0 (non-commercial)" in printed
    assert "molML/MoleculeACE" in printed


def test_data_get_then_verify(real_data: Path, tmp_path: Path, capsys) -> None:
    get = ["data", "get", "esol", "bbbp", "--from", str(real_data), "--data-dir", str(tmp_path / "data")]
    assert run(get) == 0
    assert run(get) == 0
    assert run(["data", "verify", "--data-dir", str(tmp_path / "data")]) == 0
    assert "bbbp: 1 ok\nesol: 1 ok\n" in capsys.readouterr().out
    assert (tmp_path / "data" / "moleculenet" / "esol.csv.gz").read_bytes() == (real_data / "moleculenet" / "esol.csv.gz").read_bytes()
    (tmp_path / "data" / "moleculenet" / "esol.csv.gz").write_bytes(b"damaged")
    assert run(["data", "verify", "--data-dir", str(tmp_path / "data")]) == 1
    assert "moleculenet/esol.csv.gz differs" in capsys.readouterr().err
    assert run(["data", "verify", "freesolv", "--data-dir", str(tmp_path / "data")]) == 1
    assert "moleculenet/freesolv.csv.gz missing" in capsys.readouterr().err


def test_data_get_fills_the_folder_that_is_looked_in_last(real_data: Path, tmp_path: Path, monkeypatch) -> None:
    from molbt.data import sources

    monkeypatch.setenv("MOLBT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MOLBT_DATA", raising=False)
    monkeypatch.setattr(sources, "_beside", lambda: [tmp_path / "none", tmp_path / "neither"])
    assert run(["data", "get", "freesolv", "--from", str(real_data)]) == 0
    assert sources.data_dir() == tmp_path / "cache" / "data"
    assert (sources.data_dir() / "moleculenet" / "freesolv.csv.gz").is_file()


def test_data_get_does_not_fetch_what_it_cannot_check(tmp_path: Path, capsys) -> None:
    (tmp_path / "empty").mkdir()
    assert run(["data", "get", "bbbp", "--from", str(tmp_path / "empty"), "--data-dir", str(tmp_path / "data")]) == 1
    assert "--accept-unverified" in capsys.readouterr().err
    assert not (tmp_path / "data" / "moleculenet").exists()


def test_get_and_verify_mean_the_same_folder(real_data: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "named").mkdir()
    monkeypatch.setenv("MOLBT_DATA", str(tmp_path / "named"))
    assert run(["data", "get", "esol", "--from", str(real_data)]) == 0
    assert (tmp_path / "named" / "moleculenet" / "esol.csv.gz").is_file()
    assert run(["data", "verify"]) == 0
    assert "esol: 1 ok" in capsys.readouterr().out


def test_a_folder_to_copy_from_must_be_there(tmp_path: Path, capsys) -> None:
    assert run(["data", "get", "esol", "--from", str(tmp_path / "none"), "--data-dir", str(tmp_path)]) == 1
    assert "--from" in capsys.readouterr().err


def test_unknown_or_missing_names_are_usage_errors(capsys) -> None:
    assert run(["data", "get", "bbbq"]) == 2
    assert "did you mean 'bbbp'" in capsys.readouterr().err
    assert run(["data", "get"]) == 2
    assert "molbt data list" in capsys.readouterr().err
