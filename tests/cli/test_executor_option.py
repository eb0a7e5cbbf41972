"""``--executor`` and ``--shard-rows`` of the commands: the same bytes wherever and however often the work was begun."""

import hashlib
import itertools
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from molbt.cli.main import run
from molbt.cli.options import SHARD_ROWS
from molbt.data import sharded_tables
from molbt.featurizer import MoleculeFeaturizer

SMALL = [
    "--set", "views.a.width=256", "--set", "encoder.embedding_dim=16", "--set", "encoder.hidden=[32]", "--set", "projector.widths=[32, 32]",
    "--set", "trainer.epochs=2", "--set", "trainer.batch_size=64", "--set", "trainer.num_threads=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory, nci_smiles) -> Path:
    path = tmp_path_factory.mktemp("rows") / "table.csv"
    frame = pd.DataFrame({"id": range(300), "smiles": nci_smiles, "y": [float(len(smiles)) for smiles in nci_smiles]})
    frame.loc[[7, 120], "smiles"] = ["C1CC", ""]
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def predictor(tmp_path_factory, table, tiny_run) -> Path:
    path = tmp_path_factory.mktemp("fitted") / "p"
    arguments = ["--target", "y", "--head", "ridge", "--model", str(tiny_run), "--folds", "0", "-o", str(path)]
    assert run(["-q", "fit", str(table), *arguments]) == 0
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files_of(directory: Path) -> dict[str, str]:
    return {str(path.relative_to(directory)): sha256(path) for path in sorted(directory.rglob("*")) if path.is_file()}


def command(name: str, table: Path, tiny_run: Path, predictor: Path, *more: str) -> list[str]:
    model = ["--model", str(tiny_run)] if name == "featurize" else ["--predictor", str(predictor)]
    return ["-q", name, str(table), *model, *more]


def test_the_options_default_is_that_of_the_package():
    assert SHARD_ROWS == sharded_tables.SHARD_ROWS


@pytest.mark.parametrize(("name", "ending"), [("featurize", "csv"), ("featurize", "parquet"), ("predict", "csv")])
def test_the_output_is_the_same_for_any_executor_and_number_of_processes(name, ending, table, tiny_run, predictor, tmp_path, dask_executor):
    found = {}
    for number, more in enumerate(([], ["--jobs", "2"], ["--executor", dask_executor])):
        output = tmp_path / f"{number}.{ending}"
        assert run(command(name, table, tiny_run, predictor, "-o", str(output), "--shard-rows", "64", *more)) == 0
        found[tuple(more)] = sha256(output)
    assert len(set(found.values())) == 1, found
    assert run(command(name, table, tiny_run, predictor, "-o", str(tmp_path / f"whole.{ending}"))) == 0
    read = pd.read_csv if ending == "csv" else pd.read_parquet
    pd.testing.assert_frame_equal(read(tmp_path / f"0.{ending}"), read(tmp_path / f"whole.{ending}"), rtol=1e-6)


def test_the_embeddings_are_those_of_the_featurizer(table, tiny_run, tmp_path):
    assert run(["-q", "featurize", str(table), "--model", str(tiny_run), "-o", str(tmp_path / "f.parquet"), "--shard-rows", "50"]) == 0
    frame = pd.read_parquet(tmp_path / "f.parquet")
    featurizer = MoleculeFeaturizer(tiny_run, on_invalid="nan").fit()
    expected = featurizer.transform(pd.read_csv(table)["smiles"])
    assert list(frame.columns) == ["id", "smiles", "y", "molbt_reason", *featurizer.get_feature_names_out()]
    np.testing.assert_allclose(frame.filter(like="moleculefeaturizer").to_numpy(), expected, rtol=1e-5, atol=1e-6)
    assert frame["molbt_reason"].tolist() == featurizer.reasons_


def test_a_killed_featurize_goes_on_with_the_same_command(nci_smiles, tiny_run, tmp_path, capsys):
    (tmp_path / "t.smi").write_text("\n".join(nci_smiles * 20) + "\n")
    output = tmp_path / "f.csv"
    arguments = ["featurize", str(tmp_path / "t.smi"), "--model", str(tiny_run), "-o", str(output), "--shard-rows", "300"]
    process = subprocess.Popen(
        [sys.executable, "-m", "molbt", *arguments], env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "f.csv.shards" / "000000000900.json").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.kill()
    process.wait()
    finished = len(list((tmp_path / "f.csv.shards").glob("0*.json")))
    assert 4 <= finished < 20
    assert not output.exists()
    assert run(arguments) == 0
    assert "going on with the shards in" in capsys.readouterr().err
    assert run(["-q", *arguments[:4], "-o", str(tmp_path / "whole.csv"), "--shard-rows", "300"]) == 0
    assert sha256(output) == sha256(tmp_path / "whole.csv")


def test_shards_of_another_model_are_refused(table, tiny_run, tiny_two_view_run, tmp_path, capsys, monkeypatch):
    arguments = ["featurize", str(table), "-o", str(tmp_path / "f.csv"), "--shard-rows", "64"]
    with monkeypatch.context() as patch:

        def fail(*_, **__):
            raise KeyboardInterrupt

        patch.setattr(sharded_tables, "merge_tables", fail)
        assert run([*arguments, "--model", str(tiny_run)]) == 130
    assert run([*arguments, "--model", str(tiny_two_view_run), "--view", "fingerprint"]) == 2
    assert re.search(r"work\.model_sha256: \w+ -> \w+.*remove .*f\.csv\.shards", capsys.readouterr().err)
    assert run([*arguments, "--model", str(tiny_run)]) == 0


def test_prepare_writes_the_same_corpus_on_any_executor(table, tmp_path, dask_executor):
    arguments = ["-q", "prepare", str(table), *SMALL]
    assert run([*arguments, "-o", str(tmp_path / "local")]) == 0
    assert run([*arguments, "-o", str(tmp_path / "dask"), "--executor", dask_executor]) == 0
    assert files_of(tmp_path / "local") == files_of(tmp_path / "dask")


@pytest.mark.parametrize("name", ["featurize", "predict", "prepare"])
def test_a_scheduler_out_of_reach_is_one_line_and_no_output(name, table, tiny_run, predictor, tmp_path, capsys):
    pytest.importorskip("distributed")
    more = ["-o", str(tmp_path / "out.csv"), "--executor", "dask://localhost:1"]
    arguments = ["-q", "prepare", str(table), *more] if name == "prepare" else command(name, table, tiny_run, predictor, *more)
    assert run(arguments) == 1
    error = capsys.readouterr().err
    assert "no Dask scheduler answers at dask://localhost:1" in error
    assert len(error.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_executor_is_a_usage_error(table, tiny_run, tmp_path, capsys):
    assert run(["featurize", str(table), "--model", str(tiny_run), "-o", str(tmp_path / "f.csv"), "--executor", "spark"]) == 2
    assert "dask://HOST:8786" in capsys.readouterr().err


PEAK = """
import sys
from molbt.cli.main import run
code = run(sys.argv[1:])
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
sys.exit(code)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_rows(nci_smiles, tiny_run, tmp_path):
    def peak(rows: int) -> int:
        lines = [f"{smiles} {number}" for number, smiles in zip(range(rows), itertools.cycle(nci_smiles))]
        (tmp_path / "t.smi").write_text("\n".join(lines) + "\n")
        output = tmp_path / f"{rows}.parquet"
        arguments = ["-q", "featurize", str(tmp_path / "t.smi"), "--model", str(tiny_run), "-o", str(output), "--shard-rows", "5000"]
        result = subprocess.run([sys.executable, "-c", PEAK, *arguments], capture_output=True, text=True, check=True)
        assert pq.read_metadata(output).num_rows == rows
        return int(result.stdout.split()[-1])

    small, large = peak(20_000), peak(200_000)
    # Held at once, the additional rows would take more than 30 MB: their text and 16 numbers of four bytes each.
    assert large < small + 15_000, (small, large)
