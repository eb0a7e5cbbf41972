import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sharded_work import KILL, Lengths, Processes, shards_done

from molbt.data.executors import ShardExecutor, open_executor
from molbt.data.sharded_tables import add_columns
from molbt.data.tables import read_table, write_table
from molbt.errors import ConfigError, DataError, ExecutionError

N_ROWS = 200
SHARD = 25


def values(n=N_ROWS):
    """Blank, repeated, long and short, in an order without a pattern."""
    rng = np.random.default_rng(0)
    return ["C" * length for length in rng.integers(0, 14, n)]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.csv"
    frame = pd.DataFrame({"id": range(N_ROWS), "smiles": values(), "text": ['a "quoted", text', "é", "", "plain"] * (N_ROWS // 4)})
    frame.to_csv(path, index=False)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def in_memory(source: Path, output: Path, *, format=None) -> None:
    """The same columns the plain way: the whole table at once, by the writer that small tables have."""
    read = read_table(source, format=format)
    cells = ["" if row in read.problems else value for row, value in enumerate(read.frame["smiles"])]
    added = Lengths()(cells)
    added["molbt_reason"] = [read.problems.get(row, reason) for row, reason in enumerate(added["molbt_reason"])]
    write_table(pd.concat([read.frame, added], axis=1), output)


@pytest.mark.parametrize("shard_rows", [1, 7, N_ROWS, 10 * N_ROWS])
@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_the_text_is_that_of_the_whole_table_at_once_for_any_shard(table, tmp_path, ending, shard_rows):
    if shard_rows < N_ROWS:
        table = cut(table, 15 * shard_rows)
    in_memory(table, tmp_path / f"whole.{ending}")
    written = add_columns(table, tmp_path / f"out.{ending}", Lengths(), shard_rows=shard_rows)
    assert (tmp_path / f"out.{ending}").read_bytes() == (tmp_path / f"whole.{ending}").read_bytes()
    assert written.rows == len(read_table(table).frame)
    assert written.refused == sum(not cell for cell in read_table(table).frame["smiles"])
    assert not (tmp_path / f"out.{ending}.shards").exists()


def cut(table: Path, rows: int) -> Path:
    short = table.with_name("short.csv")
    short.write_text("".join(table.read_text().splitlines(keepends=True)[: rows + 1]))
    return short


def test_parquet_holds_the_same_rows_and_types_for_any_shard(table, tmp_path):
    in_memory(table, tmp_path / "whole.parquet")
    add_columns(table, tmp_path / "out.parquet", Lengths(), shard_rows=SHARD)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out.parquet"), pd.read_parquet(tmp_path / "whole.parquet"))


def test_a_column_that_is_missing_in_one_shard_keeps_its_type(tmp_path):
    # Shard 0 has no whole number missing, shard 1 nothing else; "note" is empty in both but the last.
    frame = pd.DataFrame(
        {
            "smiles": ["C"] * 4 + ["C" * 12] * 2,
            "count": pd.array([1, 2, None, None, 5, 6], dtype="Int64"),
            "share": [0.5, None, None, None, 1, 2],
            "flag": pd.array([True, False, None, None, True, None], dtype="boolean"),
            "kind": pd.Categorical(["a", "b", "c", "c", "b", "a"]),
        }
    )
    frame.to_parquet(tmp_path / "t.parquet")
    add_columns(tmp_path / "t.parquet", tmp_path / "out.parquet", Lengths(), shard_rows=2)
    read = pd.read_parquet(tmp_path / "out.parquet")
    pd.testing.assert_frame_equal(read[["smiles", "count", "share", "flag"]], frame[["smiles", "count", "share", "flag"]])
    assert read["kind"].tolist() == list("abccba")
    assert read["note"].isna().tolist() == [True] * 4 + [False] * 2
    add_columns(tmp_path / "t.parquet", tmp_path / "out.csv", Lengths(), shard_rows=2)
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[1].startswith("C,1,0.5,True,a,")
    assert lines[3].startswith("C,,,,c,")


def test_refused_rows_have_the_readers_reason_and_a_lone_carriage_return_is_quoted(tmp_path):
    rows = b"smiles,y\nCC,1\nCC,1,2\n" + b'C,"a\rb"\n' + b"\nCCC,2\n"
    (tmp_path / "t.csv").write_bytes(rows)
    in_memory(tmp_path / "t.csv", tmp_path / "whole.csv")
    for shard_rows in (1, 2, 100):
        written = add_columns(tmp_path / "t.csv", tmp_path / "out.csv", Lengths(), shard_rows=shard_rows)
        assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
        assert (written.rows, written.refused, written.first_reason) == (5, 2, "expected 2 fields, found 3")


def test_data_fields_that_an_sd_file_names_later_are_columns_of_all_rows(tmp_path):
    from rdkit import Chem

    records = [("CCO", {"a": "1"}), ("CCN", {}), ("CCC", {"b": "2"}), ("C", {"a": "3", "b": "4"})]
    blocks = [
        Chem.MolToMolBlock(Chem.MolFromSmiles(smiles)) + "".join(f"> <{name}>\n{value}\n\n" for name, value in fields.items()) + "$$$$\n"
        for smiles, fields in records
    ]
    (tmp_path / "t.sdf").write_text("".join(blocks))
    add_columns(tmp_path / "t.sdf", tmp_path / "out.csv", Lengths(), shard_rows=1)
    read = pd.read_csv(tmp_path / "out.csv", keep_default_na=False, dtype=str)
    assert list(read.columns) == ["smiles", "name", "a", "b", "molbt_reason", "length", "root", "note"]
    assert read["a"].tolist() == ["1", "", "", "3"]
    assert read["b"].tolist() == ["", "", "2", "4"]


def test_a_table_without_rows_gives_a_header(tmp_path):
    (tmp_path / "t.csv").write_text("id,smiles\n")
    written = add_columns(tmp_path / "t.csv", tmp_path / "out.csv", Lengths())
    assert (tmp_path / "out.csv").read_text() == "id,smiles,molbt_reason,length,root,note\n"
    assert written.rows == 0


def test_a_wrong_column_is_found_before_anything_is_written(table, tmp_path):
    with pytest.raises(DataError, match="column 'structure' is not in"):
        add_columns(table, tmp_path / "out.csv", Lengths(), column="structure")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.csv"]


def test_dask_writes_the_same_bytes(table, tmp_path, dask_executor):
    for ending in ("csv", "parquet"):
        add_columns(table, tmp_path / f"local.{ending}", Lengths(), shard_rows=SHARD)
        with open_executor(dask_executor) as executor:
            add_columns(table, tmp_path / f"dask.{ending}", Lengths(), shard_rows=SHARD, executor=executor)
        assert sha256(tmp_path / f"dask.{ending}") == sha256(tmp_path / f"local.{ending}")


def test_a_worker_killed_in_the_middle_loses_no_row(table, tmp_path, dask_executor):
    add_columns(table, tmp_path / "local.csv", Lengths(), shard_rows=SHARD)
    log = tmp_path / "log"
    with open_executor(dask_executor) as executor:
        [(_, victim)] = executor.map(_process, [("any", 0)])

        def kill() -> None:
            while len(shards_done(log)) < 3:
                time.sleep(0.01)
            os.kill(victim, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        add_columns(table, tmp_path / "dask.csv", Lengths(log=str(log), seconds=0.3), shard_rows=SHARD, executor=executor)
        killer.join()
    assert sha256(tmp_path / "dask.csv") == sha256(tmp_path / "local.csv")
    assert len(shards_done(log)) > N_ROWS // SHARD  # the shard that was lost was done again


def _process(value: int) -> int:
    return os.getpid()


def test_a_shard_that_kills_every_worker_is_named_and_the_others_stay(table, tmp_path, dask_executor):
    poisoned = tmp_path / "poisoned.csv"
    lines = table.read_text().splitlines(keepends=True)
    lines[1 + 110] = f"110,{KILL},x\n"
    poisoned.write_text("".join(lines))
    with open_executor(dask_executor) as executor, pytest.raises(ExecutionError, match=r"killed every worker .*: 000000000100"):
        add_columns(poisoned, tmp_path / "out.csv", Lengths(), shard_rows=SHARD, executor=executor)
    finished = sorted(path.stem for path in (tmp_path / "out.csv.shards").glob("0*.json"))
    assert finished == [f"{row:012d}" for row in range(0, N_ROWS, SHARD) if row != 100]
    assert not (tmp_path / "out.csv").exists()
    # The row is mended, the command given again: one shard is done, here.
    mended, log = tmp_path / "mended.csv", tmp_path / "log"
    mended.write_text(poisoned.read_text().replace(KILL, "CCCC"))
    add_columns(mended, tmp_path / "out.csv", Lengths(log=str(log)), shard_rows=SHARD)
    assert len(shards_done(log)) == 1
    in_memory(mended, tmp_path / "whole.csv")
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def interrupted(table: Path, output: Path, log: Path, *, shards: int) -> None:
    """Be killed (SIGKILL) in the middle of a shard, after so many were begun."""
    script = "import sys; from sharded_work import Lengths; from molbt.data.sharded_tables import add_columns; from pathlib import Path\n"
    script += f"add_columns(sys.argv[1], Path(sys.argv[2]), Lengths(log=sys.argv[3], seconds=0.2), shard_rows={SHARD})"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen([sys.executable, "-c", script, str(table), str(output), str(log)], env=environment)
    deadline = time.monotonic() + 120
    begun = len(shards_done(log))
    while len(shards_done(log)) < begun + shards and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(table, tmp_path, ending):
    output, log = tmp_path / f"out.{ending}", tmp_path / "log"
    interrupted(table, output, log, shards=3)
    assert not output.exists()
    interrupted(table, output, log, shards=2)
    add_columns(table, output, Lengths(log=str(log)), shard_rows=SHARD)
    add_columns(table, tmp_path / f"whole.{ending}", Lengths(), shard_rows=SHARD)
    assert sha256(output) == sha256(tmp_path / f"whole.{ending}")
    # Each interruption cost the shard it hit.
    assert len(shards_done(log)) == N_ROWS // SHARD + 2
    assert not output.with_name(f"{output.name}.shards").exists()


def stopped(table: Path, output: Path, **changes) -> Path:
    """Stop before the table is merged, with all shards but the last finished."""

    def stop(label: str, done: int, total: int) -> None:
        if done >= N_ROWS - SHARD:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add_columns(table, output, Lengths(**changes), shard_rows=SHARD, progress=stop)
    return output.with_name(f"{output.name}.shards")


def test_shards_of_other_settings_are_refused_with_the_difference(table, tmp_path):
    stopped(table, tmp_path / "out.csv")
    with pytest.raises(ConfigError, match=r"work\.scale: 1\.0 -> 2\.0.*remove .*out\.csv\.shards"):
        add_columns(table, tmp_path / "out.csv", Lengths(scale=2.0), shard_rows=SHARD)
    with pytest.raises(ConfigError, match="shard_rows: 25 -> 50"):
        add_columns(table, tmp_path / "out.csv", Lengths(), shard_rows=50)


def test_shards_of_rows_that_changed_are_done_again_and_it_is_said(table, tmp_path, caplog):
    stopped(table, tmp_path / "out.csv")
    lines = table.read_text().splitlines(keepends=True)
    lines[1 + 123] = "123,CCCCC,changed\n"
    table.write_text("".join(lines))
    log = tmp_path / "log"
    add_columns(table, tmp_path / "out.csv", Lengths(log=str(log)), shard_rows=SHARD)
    assert "the rows from 100 on differ" in caplog.text
    assert len(shards_done(log)) == 2  # that shard, and the last
    in_memory(table, tmp_path / "whole.csv")
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_shards_beyond_the_end_of_a_table_that_became_shorter_are_left_out(table, tmp_path):
    stopped(table, tmp_path / "out.csv")
    short = cut(table, 60)
    add_columns(short, tmp_path / "out.csv", Lengths(), shard_rows=SHARD)
    in_memory(short, tmp_path / "whole.csv")
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.parametrize("name", ["000000000100.parquet", "000000000100.json"])
def test_a_damaged_shard_is_done_again(table, tmp_path, name, caplog):
    shards = stopped(table, tmp_path / "out.csv")
    content = bytearray((shards / name).read_bytes())
    content[len(content) // 2] ^= 0xFF
    (shards / name).write_bytes(content)
    add_columns(table, tmp_path / "out.csv", Lengths(), shard_rows=SHARD)
    assert "done again" in caplog.text
    in_memory(table, tmp_path / "whole.csv")
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_shard_that_is_part_of_a_longer_table_is_isolated_however_small(table, tmp_path):
    add_columns(table, tmp_path / "out.parquet", Processes(), shard_rows=150)
    processes = pd.read_parquet(tmp_path / "out.parquet")["process"]
    assert set(processes[:150]) == {os.getpid()}  # as far as is known then, a small table
    assert os.getpid() not in set(processes[150:])


def test_a_second_writer_to_one_output_is_refused(table, tmp_path):
    def second(label: str, done: int, total: int) -> None:
        with pytest.raises(ConfigError, match="another process writes into"):
            add_columns(table, tmp_path / "out.csv", Lengths(), shard_rows=SHARD)

    add_columns(table, tmp_path / "out.csv", Lengths(), shard_rows=SHARD, progress=second)
    assert (tmp_path / "out.csv").is_file()


def test_a_folder_of_somebody_else_is_left_alone(table, tmp_path):
    (tmp_path / "out.csv.shards").mkdir()
    (tmp_path / "out.csv.shards" / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds something else"):
        add_columns(table, tmp_path / "out.csv", Lengths())
    assert (tmp_path / "out.csv.shards" / "thesis.txt").read_text() == "mine"


def test_a_cut_input_leaves_the_shards_before_the_cut(tmp_path):
    import gzip

    whole = gzip.compress(
        ("smiles\n" + "\n".join(np.random.default_rng(1).choice(list("CNO"), (N_ROWS, 30)).view("<U30").ravel())).encode()
    )
    (tmp_path / "t.csv.gz").write_bytes(whole[: len(whole) * 3 // 4])
    with pytest.raises(DataError, match="is cut short"):
        add_columns(tmp_path / "t.csv.gz", tmp_path / "out.csv", Lengths(), shard_rows=SHARD)
    assert len(list((tmp_path / "out.csv.shards").glob("0*.json"))) >= 3
    log = tmp_path / "log"
    (tmp_path / "t.csv.gz").write_bytes(whole)
    assert add_columns(tmp_path / "t.csv.gz", tmp_path / "out.csv", Lengths(log=str(log)), shard_rows=SHARD).rows == N_ROWS
    assert len(shards_done(log)) <= N_ROWS // SHARD - 3


def test_what_is_submitted_at_a_time_is_bounded(table, tmp_path):
    """More shards than are under way are never read."""
    waiting = []

    class Recording(ShardExecutor):
        def map(self, function, shards):
            for name, cells in shards:
                waiting.append(name)
                yield name, function(cells)
                assert waiting[-1] == name  # the next is read when this one is committed

    add_columns(table, tmp_path / "out.csv", Lengths(), shard_rows=SHARD, executor=Recording())
    assert len(waiting) == N_ROWS // SHARD


def test_the_notes_are_json_that_tells_what_is_finished(table, tmp_path):
    shards = stopped(table, tmp_path / "out.csv")
    facts = json.loads((shards / "000000000100.json").read_text())["facts"]
    assert facts["rows"] == SHARD
    assert facts["refused"] == sum(not cell for cell in values()[100:125])
