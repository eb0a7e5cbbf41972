"""Preparing a corpus: every row accounted for, every value prepared once, the same bits however it was made."""

import gzip
import hashlib
import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem

from molbt.config import RunConfig
from molbt.data import shards
from molbt.data.corpus import Corpus, cache_directory, is_corpus, prepare, read_quarantine
from molbt.data.molecules import ParsePolicy
from molbt.errors import DataError
from molbt.modalities.fingerprint import Fingerprint

FINGERPRINT = {"modality": "fingerprint", "kinds": ["ecfp4"], "width": 256}
MESSY_CSV = b"id,smiles,y\n1,CCO,1.5\n\n2,c1ccccc1\n3,CCO,2.5\n4,C1CC,\n5,CC\x00N,1\n6,,3\n7,CCN,x\n8,C(C)(C)(C)(C)C,1\n9,CCN,4\n"
MESSY_ROWS = {1: "blank line", 2: "expected 3 fields, found 2", 4: "ring", 5: "NUL", 6: "blank", 8: "valence"}
MESSY_SMI = b"CCO ethanol\n\nCCO again\nC1CC open ring\nCC\x00N\nCCN\n"
MESSY_SMI_ROWS = {1: "blank line", 3: "ring", 4: "NUL"}


def build(**sections):
    views = {"a": FINGERPRINT, "b": {"like": "a", "drop": 0.1}}
    return RunConfig.from_dict({"views": views, "pairs": [["a", "b"]], "objectives": [{"name": "barlow_twins"}], **sections})


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def array_hashes(directory: Path) -> dict[str, str]:
    """The hash of each array and table of a corpus, by its place."""
    files = (path for path in directory.rglob("*") if path.suffix in (".npy", ".parquet", ".csv"))
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def change_times(directory: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*")}


@pytest.fixture
def prepared_values(monkeypatch):
    """The values that were prepared, call by call."""
    calls: list[list[str]] = []
    original = Fingerprint.prepare

    def spy(self, values, policy):
        calls.append(list(values))
        return original(self, values, policy)

    monkeypatch.setattr(Fingerprint, "prepare", spy)
    return calls


@pytest.mark.parametrize(("name", "content", "bad"), [("t.csv", MESSY_CSV, MESSY_ROWS), ("t.smi", MESSY_SMI, MESSY_SMI_ROWS)])
def test_every_row_is_used_or_refused_with_its_place_and_reason(name, content, bad, tmp_path):
    path = write(tmp_path / name, content)
    corpus = prepare(path, build(), directory=tmp_path / "corpus")
    quarantine = read_quarantine(corpus)
    assert quarantine["row"].tolist() == sorted(bad)
    for row, reason in zip(quarantine["row"], quarantine["reason"], strict=True):
        assert bad[row] in reason
    good = [row for row in range(corpus.n_rows) if row not in bad]
    numbers = corpus.row_values("smiles")
    assert {corpus.values("smiles")[numbers[row]] for row in good} == {"CCO", "CCN"}
    assert corpus.samples(build()).rows.tolist() == [0, good[-1] if name == "t.smi" else 7]


@pytest.mark.parametrize(("name", "content", "start"), [("t.csv", MESSY_CSV, 12), ("t.smi", MESSY_SMI, 0), ("t.csv.gz", MESSY_CSV, 12)])
def test_a_byte_offset_in_the_quarantine_leads_to_its_row(name, content, start, tmp_path):
    path = write(tmp_path / name, gzip.compress(content) if name.endswith("gz") else content)
    quarantine = read_quarantine(prepare(path, build(), directory=tmp_path / "corpus"))
    lines = content[start:].split(b"\n")
    text = io.BytesIO(content)
    assert len(quarantine) >= 3
    for row, offset in zip(quarantine["row"], quarantine["byte_offset"], strict=True):
        text.seek(int(offset))
        assert text.readline().rstrip(b"\n") == lines[row]


def test_the_quarantine_shows_the_refused_value():
    corpus = prepare(["CCO", "C1CC", "CCN", "C" * 6000], build())
    quarantine = read_quarantine(corpus)
    assert quarantine["value"].tolist() == ["C1CC", "C" * 200]
    assert quarantine["column"].tolist() == ["smiles", "smiles"]
    assert quarantine["byte_offset"].isna().all()


def test_each_unique_value_is_prepared_once(prepared_values):
    prepare(["CCO", "CCN", "CCO", "x", "x", "CCC", "CCN"], build(molecules={"max_length": 4999}))
    assert prepared_values == [["CCO", "CCN", "x", "CCC"]]  # views a and b share them too


def test_columns_hold_what_rdkit_computes():
    values = ["CCO", "x", "c1ccccc1O"]
    columns = prepare(values, build()).columns(build().views["a"])
    matrix = Fingerprint(kinds=("ecfp4",), width=256).dense(columns, np.arange(3)).toarray()
    generator = Chem.rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=256)
    for row in (0, 2):
        counts = generator.GetCountFingerprint(Chem.MolFromSmiles(values[row])).GetNonzeroElements()
        assert {int(i): int(matrix[row, i]) for i in np.flatnonzero(matrix[row])} == counts
    assert not matrix[1].any()


def test_columns_are_mapped_into_memory():
    corpus = prepare(["CCO", "CCN"], build())
    columns = corpus.columns(build().views["a"])
    mapped = Path("/proc/self/maps").read_text()
    assert str(corpus.directory) in mapped
    assert len(columns["features"]) == 2


def test_the_result_does_not_depend_on_processes_or_kills(tmp_path, nci_smiles, monkeypatch, prepared_values):
    monkeypatch.setattr(shards, "SHARD_SIZE", 64)
    values = [*nci_smiles[:250], "x", *nci_smiles[:10]]
    config = build(views={"a": FINGERPRINT, "d": {"modality": "descriptors", "names": ["MolWt", "TPSA"]}}, pairs=[["a", "d"]])
    prepare(values, config, directory=tmp_path / "one")
    prepare(values, config, directory=tmp_path / "two", n_jobs=2)

    spied, started = Fingerprint.prepare, []

    def killed(self, shard, policy):
        started.append(shard[0])
        if len(started) == 3:
            raise KeyboardInterrupt
        return spied(self, shard, policy)

    monkeypatch.setattr(Fingerprint, "prepare", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(values, config, directory=tmp_path / "killed")
    monkeypatch.setattr(Fingerprint, "prepare", spied)
    prepared_values.clear()
    prepare(values, config, directory=tmp_path / "killed")
    assert [len(shard) for shard in prepared_values] == [64, 59]  # of 251 values, two shards of 64 were done
    expected = array_hashes(tmp_path / "one")
    assert len(expected) > 8
    assert array_hashes(tmp_path / "two") == expected
    assert array_hashes(tmp_path / "killed") == expected


@pytest.mark.parametrize("stage", ["molbt.data.corpus.atomic_write", "molbt.data.corpus.sha256_of", "molbt.data.shards.merge_columns"])
def test_a_kill_between_two_stages_leaves_a_directory_that_can_be_finished(stage, tmp_path, monkeypatch):
    config, values = build(), ["CCO", "CCN", "x"]
    prepare(values, config, directory=tmp_path / "whole")

    def kill(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stage, kill)
        with pytest.raises(KeyboardInterrupt):
            prepare(values, config, directory=tmp_path / "killed")
    prepare(values, config, directory=tmp_path / "killed")
    assert array_hashes(tmp_path / "killed") == array_hashes(tmp_path / "whole")
    leftovers = [path.name for path in (tmp_path / "killed").rglob("*") if ".tmp" in path.name or ".shards" in path.name]
    assert leftovers == []


def test_preparing_again_does_no_work_and_writes_nothing(tmp_path, prepared_values):
    path = write(tmp_path / "t.csv", MESSY_CSV)
    first = prepare(path, build(), directory=tmp_path / "corpus")
    times = change_times(first.directory)
    prepared_values.clear()
    again = prepare(path, build(views={"a": FINGERPRINT, "b": {"like": "a", "drop": 0.5}}), directory=tmp_path / "corpus")
    assert prepared_values == []
    assert change_times(again.directory) == times


def test_another_preparation_is_added_to_what_is_there(tmp_path, prepared_values):
    path = write(tmp_path / "t.smi", b"CCO\nCCN\nx\n")
    corpus = prepare(path, build(), directory=tmp_path / "corpus")
    before = array_hashes(corpus.directory)
    wider = build(views={"a": {**FINGERPRINT, "width": 512}, "b": {"like": "a"}})
    with pytest.raises(DataError, match=r"has no columns for modality 'fingerprint'.*molbt prepare FILE"):
        corpus.samples(wider)
    prepare(path, wider, directory=tmp_path / "corpus")
    assert len(corpus.samples(wider)) == len(corpus.samples(build())) == 2
    assert before.items() <= array_hashes(corpus.directory).items()
    assert len(prepared_values) == 2


@pytest.mark.parametrize(
    ("content", "sections", "differs"),
    [
        (b"CCO\nCCC\n", {}, "source_sha256"),
        (b"CCO\nCCN\n", {"molecules": {"standardise": "neutral"}}, "policy.standardise: none -> neutral"),
        (b"CCO\nCCN\n", {"labels": {"y": {"value": "name"}}}, r"labels\.y"),
        (b"CCO\nCCN\n", {"views": {"a": FINGERPRINT, "b": {"like": "a", "column": "name"}}}, "columns"),
    ],
)
def test_a_directory_of_another_corpus_is_refused(content, sections, differs, tmp_path):
    prepare(write(tmp_path / "t.smi", b"CCO\nCCN\n"), build(), directory=tmp_path / "corpus")
    times = change_times(tmp_path / "corpus")
    with pytest.raises(DataError, match=rf"holds the corpus of .*t\.smi.*{differs}.*choose another directory"):
        prepare(write(tmp_path / "u.smi", content), build(**sections), directory=tmp_path / "corpus")
    assert change_times(tmp_path / "corpus") == times


def test_the_same_bytes_in_another_format_are_another_corpus(tmp_path):
    path = write(tmp_path / "table", b"smiles\tname\nCCO\ta\nCCN\tb\nx y\tc\n")
    as_smi, as_tsv = (prepare(path, build(), format=format) for format in ("smi", "tsv"))
    assert as_smi.directory != as_tsv.directory
    assert [corpus.values("smiles") for corpus in (as_smi, as_tsv)] == [["CCO", "CCN", "x"], ["CCO", "CCN", "x y"]]


def test_a_directory_with_other_content_is_refused_untouched(tmp_path):
    for name in ("rows", "notes.txt"):
        directory = tmp_path / name
        directory.mkdir()
        (directory / name).write_text("mine")
        with pytest.raises(DataError, match="is not empty and holds no corpus; choose a new directory"):
            prepare(["CCO", "CCN"], build(), directory=directory)
        assert [path.name for path in directory.iterdir()] == [name]
    with pytest.raises(DataError, match="is a file"):
        prepare(["CCO", "CCN"], build(), directory=tmp_path / "notes.txt" / "notes.txt")


def test_excluded_molecules_keep_their_row_and_are_not_trained_on(tmp_path):
    exclude = write(tmp_path / "test.csv", b"smiles,y\nCC(=O)[O-].[Na+],1\nC[C@H](N)C(=O)O,2\nOc1ccccn1,3\nC1CC,4\n,5\n")
    values = ["CC(=O)O", "CCO", "C[C@@H]([NH3+])C(=O)[O-]", "O=c1cccc[nH]1", "C1CC", "CC(=O)O", "CCC"]
    corpus = prepare(values, build(), exclude=[exclude])
    assert corpus.samples(build()).rows.tolist() == [1, 3, 6]  # the tautomer of row 3 is another molecule
    quarantine = read_quarantine(corpus).set_index("row")["reason"]
    assert quarantine[[0, 2, 5]].str.startswith("excluded").all()
    assert "excluded" not in quarantine[4]  # unreadable in both files, and that is its reason
    assert corpus.directory != prepare(values, build()).directory


def test_an_exclusion_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match="--exclude"):
        prepare(["CCO", "CCN"], build(), exclude=[tmp_path / "none.csv"])
    with pytest.raises(DataError, match=r"column 'smiles' is not in the excluded table .*x\.csv \(columns: structure, y\)"):
        prepare(["CCO", "CCN"], build(), exclude=[write(tmp_path / "x.csv", b"structure,y\nC,1\n")])


def test_labels_are_grouped_by_sample(tmp_path):
    path = write(
        tmp_path / "t.csv",
        b"smiles,assay,y\nCCO,p,1\nCCN,p,2\nCCO,q,3\nC1CC,r,9\nCCO,p,\nCCC,q,n/a\nCCN,,7\nCCN,q,5\nCCO,p,1\n",
    )
    config = build(labels={"activity": {"value": "y", "task": "assay"}, "plain": {"value": "y"}})
    samples = prepare(path, config).samples(config)
    assert samples.rows.tolist() == [0, 1, 5]
    activity, plain = samples.labels["activity"], samples.labels["plain"]
    assert activity.offsets.tolist() == [0, 3, 5, 5]
    assert activity.fields["task"].tolist() == [0, 1, 0, 0, 1]
    assert activity.fields["value"].tolist() == [1, 3, 1, 2, 5]
    assert plain.offsets.tolist() == [0, 3, 6, 6]
    assert plain.fields["value"].tolist() == [1, 3, 1, 2, 7, 5]
    assert samples.n_tasks == {"activity": 3, "plain": 1}  # r has no usable row, and keeps its number


def test_labels_that_are_no_numbers_are_counted_in_a_warning(tmp_path, caplog):
    config = build(labels={"y": {"value": "y"}})
    prepare(write(tmp_path / "t.csv", b"smiles,y\nCCO,1\nCCN,>5\nCCC,\nCCCC,inf\n"), config)
    assert "2 cells of label set 'y'" in caplog.text
    assert "'>5' in row 1, 'inf' in row 3" in caplog.text


def test_a_label_set_without_a_number_is_an_error(tmp_path):
    config = build(labels={"y": {"value": "note"}})
    corpus = prepare(write(tmp_path / "t.csv", b"smiles,note\nCCO,a\nCCN,b\n"), config)
    with pytest.raises(DataError, match=r"label set 'y' \(column 'note'\) has no number"):
        corpus.samples(config)


def test_a_corpus_refuses_a_configuration_that_it_was_not_prepared_for():
    corpus = prepare(["CCO", "CCN"], build())
    for sections, said in (
        (
            {"views": {"a": FINGERPRINT, "b": {"like": "a", "column": "other"}}},
            "was prepared from the columns smiles, a view reads 'other'",
        ),
        ({"molecules": {"max_length": 10}}, r"molecules\.max_length: 5000 -> 10"),
        ({"labels": {"y": {"value": "y"}}}, "labels.y"),
    ):
        with pytest.raises(DataError, match=said):
            corpus.samples(build(**sections))


def test_two_columns_make_one_sample_per_distinct_pair():
    frame = pd.DataFrame({"drug": ["CCO", "CCN", "CCO", "CCO", "x"], "partner": ["CCC", "CCC", "CCC", "CCCC", "CCC"], "junk": [[]] * 5})
    config = build(views={"a": {**FINGERPRINT, "column": "drug"}, "b": {**FINGERPRINT, "column": "partner"}})
    samples = prepare(frame, config).samples(config)
    assert samples.rows.tolist() == [0, 1, 3]
    assert samples.entries["a"].tolist() == [0, 1, 0]
    assert samples.entries["b"].tolist() == [0, 0, 1]


SMILES = ["CCO", None, "CCN", float("nan"), "CCO", pd.NA]


@pytest.mark.parametrize(
    "source",
    [
        SMILES,
        tuple(SMILES),
        np.array(SMILES, dtype=object),
        pd.Series(SMILES, index=[5, 5, 1, 2, 3, 4]),
        pd.Series(SMILES, dtype="string").to_frame("smiles").set_index(pd.Index(list("abcdef"))),
        pd.DataFrame({"other": range(6), "smiles": SMILES}),
    ],
    ids=["list", "tuple", "array", "series", "frame of strings", "frame of objects"],
)
def test_values_in_memory_are_a_table(source):
    corpus = prepare(source, build())
    assert corpus.row_values("smiles").tolist() == [0, 1, 2, 1, 0, 1]
    assert corpus.values("smiles") == ["CCO", "", "CCN"]
    assert read_quarantine(corpus)["row"].tolist() == [1, 3, 5]
    assert read_quarantine(corpus)["reason"].unique().tolist() == ["blank"]
    assert corpus.manifest["source"] == "the given DataFrame"


def test_the_address_of_a_frame_depends_on_the_cells_that_are_read():
    def place(**columns):
        return prepare(pd.DataFrame(columns), build()).directory

    here = place(smiles=["CCO", "CCN"])
    assert place(smiles=["CCO", "CCN"], y=[1, 2]) == here
    assert place(smiles=["CCN", "CCO"]) != here
    assert place(smiles=["CCO", "CCN", None]) != place(smiles=["CCO", "CCN", "None"])


def test_a_column_that_is_there_twice_is_refused():
    frame = pd.DataFrame([["CCO", "CCN"]], columns=["smiles", "smiles"])
    with pytest.raises(DataError, match="more than one column 'smiles'"):
        prepare(frame, build())


def test_a_sequence_fits_one_column_only():
    config = build(views={"a": FINGERPRINT, "b": {**FINGERPRINT, "column": "other"}})
    with pytest.raises(DataError, match="this one has other, smiles; pass a DataFrame"):
        prepare(["CCO", "CCN"], config)


@pytest.mark.parametrize("column", ["a/b", "../up", "y [pEC50/pKi]", "byte_offsets", "Säure", "x.y"])
def test_a_column_may_have_any_name(column, tmp_path):
    config = build(views={"a": {**FINGERPRINT, "column": column}, "b": {"like": "a"}}, labels={"y": {"value": "byte_offsets"}})
    frame = (
        pd.DataFrame({"byte_offsets": [1, 2]})
        .assign(**{column: ["CCO", "CCN"]})
        .assign(byte_offsets=["CCO", "CCN"] if column == "byte_offsets" else [1, 2])
    )
    corpus = prepare(frame, config, directory=tmp_path / "deep" / "corpus")
    assert corpus.values(column) == ["CCO", "CCN"]
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["corpus"]


def test_standard_input_is_read_like_a_file(tmp_path, monkeypatch):
    class Stdin:
        buffer = io.BytesIO(b"CCO a\nCCN b\nx\n")

    before = set(cache_directory().iterdir())
    monkeypatch.setattr("sys.stdin", Stdin)
    corpus = prepare("-", build(), directory=tmp_path / "corpus")
    assert corpus.values("smiles") == ["CCO", "CCN", "x"]
    assert read_quarantine(corpus)["byte_offset"].tolist() == [12]
    assert corpus.manifest["source"] == "standard input"
    assert set(cache_directory().iterdir()) <= {*before, cache_directory() / "corpora"}  # no copy stays


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("MOLBT_CACHE", str(tmp_path / "cache"))
    assert prepare(["CCO", "CCN"], build()).directory.parent == tmp_path / "cache" / "corpora"
    monkeypatch.setenv("MOLBT_CACHE", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_directory() == tmp_path / "home" / ".cache" / "molbt"


def test_a_wrong_column_is_said_before_any_output(tmp_path):
    path = write(tmp_path / "t.csv", b"SMILES,y\nCCO,1\n")
    with pytest.raises(DataError, match=r"column 'smiles' is not in .*t\.csv \(columns: SMILES, y\); pass --smiles-column SMILES"):
        prepare(path, build(), directory=tmp_path / "corpus")
    path = write(tmp_path / "t.csv", b"smiles,y\nCCO,1\n")
    with pytest.raises(DataError, match=r"column 'pIC50' is not in .*; change labels\.activity\.value"):
        prepare(path, build(labels={"activity": {"value": "pIC50"}}), directory=tmp_path / "corpus")
    assert not (tmp_path / "corpus").exists()


@pytest.mark.parametrize(("content", "left"), [(b"x\ny\nC1CC\n", 0), (b"CCO\nCCO\nx\n", 1)])
def test_too_few_usable_rows_are_an_error_that_names_the_quarantine(content, left, tmp_path):
    corpus = prepare(write(tmp_path / "t.smi", content), build())
    with pytest.raises(DataError, match=rf"leaves {left} usable distinct samples of 3 rows.*quarantine\.csv") as caught:
        corpus.samples(build())
    assert str(corpus.directory / "quarantine.csv") in str(caught.value)
    assert (corpus.directory / "quarantine.csv").is_file()


def test_a_table_of_a_header_alone_is_an_empty_corpus(tmp_path):
    corpus = prepare(write(tmp_path / "t.csv", b"smiles,y\n"), build(labels={"y": {"value": "y"}}))
    assert corpus.n_rows == 0
    with pytest.raises(DataError, match="0 usable distinct samples of 0 rows"):
        corpus.samples(build(labels={"y": {"value": "y"}}))


def test_a_missing_file_says_what_can_be_passed(tmp_path):
    with pytest.raises(DataError, match=r"expected a table at .*none\.smi, found no file"):
        prepare(tmp_path / "none.smi", build())
    with pytest.raises(DataError, match="expected a table at CCO, found no file"):
        prepare("CCO", build())


def test_opening_what_is_no_corpus_says_so(tmp_path):
    assert not is_corpus(tmp_path)
    assert not is_corpus(["CCO"])
    with pytest.raises(DataError, match=r"found no manifest\.json; make one with: molbt prepare FILE"):
        Corpus.open(tmp_path)
    for content in (b"{", b"[]", b'{"format": "other"}', b"\xff", b"[" * 100_000, b'{"format": "molbt.corpus", "format_version": 1}'):
        write(tmp_path / "manifest.json", content)
        with pytest.raises(DataError, match=r"cannot read|holds something else|expected one JSON object|cannot be used"):
            Corpus.open(tmp_path)


def test_a_cut_column_is_an_error_that_names_the_file():
    corpus = prepare(["CCO", "CCN", "CCCC", "CCCl"], build())
    column = next(corpus.directory.rglob("field.count.npy"))
    content = column.read_bytes()
    for length in (0, 5, len(content) - 1):
        column.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"cannot read .*field\.count\.npy"):
            corpus.columns(build().views["a"])
    column.write_bytes(content)
    assert len(corpus.columns(build().views["a"])["features"]) == 4


def test_progress_counts_values_up_to_their_number(monkeypatch):
    monkeypatch.setattr(shards, "SHARD_SIZE", 2)
    seen = []
    prepare(["CCO", "CCN", "CCC", "CCCC", "CCCCC"], build(), progress=lambda *step: seen.append(step))
    assert seen == [("reading", 5, 0), *(("preparing fingerprint", done, 5) for done in (0, 2, 4, 5))]


WORKER = """
import sys
from molbt.config import RunConfig
from molbt.data.corpus import prepare
config = RunConfig.from_preset(changes=["views.a.width=256"])
print(len(prepare(sys.argv[1], config, directory=sys.argv[2]).samples(config)))
"""


def test_two_processes_can_prepare_one_directory_at_once(tmp_path, nci_smiles):
    path = write(tmp_path / "t.smi", "\n".join(nci_smiles).encode())
    command = [sys.executable, "-c", WORKER, str(path), str(tmp_path / "corpus")]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})
        for _ in range(2)
    ]
    for process in processes:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
        assert output.split() == [b"300"]


def test_a_second_process_waits_for_the_first(prepared_values, monkeypatch, tmp_path):
    # The lock belongs to an open file, so two threads contend for it as two processes do.
    spied, inside, go_on = Fingerprint.prepare, threading.Event(), threading.Event()

    def slow(self, values, policy):
        inside.set()
        assert go_on.wait(30)
        return spied(self, values, policy)

    monkeypatch.setattr(Fingerprint, "prepare", slow)
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(prepare(["CCO", "CCN"], build(), directory=tmp_path / "corpus"))) for _ in range(2)
    ]
    threads[0].start()
    assert inside.wait(30)
    threads[1].start()
    threads[1].join(0.2)
    assert threads[1].is_alive()
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert [corpus.n_rows for corpus in results] == [2, 2]
    assert len(prepared_values) == 1


def test_a_full_disk_leaves_no_half_file(tmp_path, monkeypatch):
    def full(file, header):
        file.write(b"\x93NUMPY")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("molbt.data.array_files.np.lib.format.write_array_header_1_0", full)
        with pytest.raises(DataError, match=r"cannot write .*: No space left on device; free space"):
            prepare(["CCO", "CCN"], build(), directory=tmp_path / "corpus")
    assert not is_corpus(tmp_path / "corpus")
    assert list((tmp_path / "corpus").rglob("*.npy")) == []
    assert len(prepare(["CCO", "CCN"], build(), directory=tmp_path / "corpus").samples(build())) == 2


def test_policy_decides_what_is_read():
    values = ["CCO.Cl", "CCN", "C" * 20]
    assert len(prepare(values, build()).samples(build())) == 3
    short = build(molecules={"max_length": 10, "standardise": "largest_fragment"})
    corpus = prepare(values, short)
    assert read_quarantine(corpus)["reason"].tolist() == ["longer than 10 characters"]
    features = Fingerprint(kinds=("ecfp4",), width=256)
    salt, ethanol = corpus.columns(short.views["a"]), features.prepare(["CCO"], ParsePolicy()).columns
    assert (features.dense(salt, np.array([0])) != features.dense(ethanol, np.array([0]))).nnz == 0
