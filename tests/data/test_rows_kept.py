"""Rows in are rows out: odd values, odd bytes, every reader and command, damaged files, large files. `test_tables.py` has odd lines."""

import csv
import gzip
import io
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import poison
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem, rdBase

from molbt.cli.main import run
from molbt.config import RunConfig
from molbt.data import isolation
from molbt.data.corpus import prepare, read_quarantine
from molbt.data.isolation import map_blocks, map_rows
from molbt.data.molecules import ParsePolicy, refusal_reasons
from molbt.data.tables import iter_table, read_table
from molbt.errors import DataError

# What RDKit reads, and so must we.
_ACCEPTED = r"""
C CC O [H][H] [He] [Na+].[Cl-] CCO OCC C(C)O C=C C#C C#N N#N O=O [O-][N+](=O)C CN(=O)=O C[N+](=O)[O-] CC(=O)[O-] c1ccccc1 C1=CC=CC=C1
C1CCCCC1 n1ccccc1 [nH]1cccc1 o1cccc1 s1cccc1 c1cc[nH]c1 c1ccc2ccccc2c1 Cn1cnc2c1c(=O)n(C)c(=O)n2C CC(C)Cc1ccc(cc1)C(C)C(=O)O
C[C@H](N)C(=O)O C[C@@H](N)C(=O)O F/C=C/F F/C=C\F F\C=C/F [C@](F)(Cl)(Br)I [2H]C([2H])([2H])[2H] [13CH4] [14C] [3H]C [C+4] [C-] [CH3+]
[CH3-] [CH2] [CH3] [N+] [NH4+] [O+2] [Fe+2] [Fe++] [Cu+2] [Zn+2].[Cl-].[Cl-] [Pt](Cl)(Cl)(N)N [U] [Og] [#6] [#1] [Si](C)(C)(C)C [se]1cccc1
[te]1cccc1 B OB(O)c1ccccc1 P S F Cl Br I [B-](F)(F)(F)F P(=O)(O)(O)O S(=O)(=O)(O)O * *C C* [*] [*:1]C [C:1] [CH3:999] C1CC1 C%10CC%10
C%(100)CC%(100) C12CC1C2 C1CC1C1CC1 C0CC0 C=1CCCCC=1 C1CCCCC=1 CC.CC C.C.C.C [K+].[I-] C1.C1 C(C)(C)(C)C C(C(C(C))) CC(C)(C)C
[H]C([H])([H])[H] [H+] [H-] [OH-] [OH2] [H]O[H] C~C C:C C-C c1ccccc1-c1ccccc1 c1ccccc1c1ccccc1 [Na]Cl N->B CN->[Cu] C$C [15NH3] [18OH2]
[C@H](F)(Cl)Br [C@TH1H](F)(Cl)Br [Co@OH1](F)(Cl)(Br)(I)(N)O C[Si@](F)(Cl)Br [nH+]1ccccc1 O=c1cc[nH]cc1 C1=CC=C[CH-]1 [cH-]1cccc1
C[S@](=O)CC C[P@](=O)(F)Cl [S-2] [Mg+2] [Al+3] O=C=O S=C=S N=[N+]=[N-] [C-]#[O+] [N-]=[N+]=O CS(C)=O [O-]S(=O)(=O)[O-] CP(C)(C)=C
FS(F)(F)(F)(F)F ClI(Cl)Cl O=I(=O)c1ccccc1 C1CC2CC1C2 C1C2CC3CC1CC(C2)C3 C12C3C4C1C5C2C3C45 C[n+]1ccccc1 [235U] [C-4] [N-3] [as]1ccccc1
[si]1ccccc1 [H]/C=C/[H] C/C=C/C=C/C C\C=C\C N/N=N/N [C]#[C] NO CO ON CN
"""
# Charges of 15 and 9 hydrogens are the most that OpenSMILES allows; the last two are the longest that the limits allow.
ACCEPTED = _ACCEPTED.split()
ACCEPTED += ["[C+15]", "[O-15]", " CCN ", "\tCCF\t", "CCl\r\n", "C" * 1_000, "C1" + "C" * 900 + "1"]

# Not molecules, or not as written: RDKit itself would read those behind the blank line, as something else.
_REFUSED = r"""
C1 C1CC C1C2C1 C12CC1 ( ) C( C) CC( CC) C() () ((C)) (C) C(C C(C))C C((((C))) C((C))C [ ] [C C] [CC] [] [[C]] [C[H]] [C@@@@@@@@] [Xx] [Zz]
[Q] [c [C+-+] [+] [-] [:1] [:] [C:] [C:a] [1] [999] [H5] [C@Q] X Q A D E G J L M R T V W Y Z x a d e f g h i j k l m q r t u v w y z cl br
si = # - : ~ / \ $ . .. C. .C C..C C= =C C# #C C== C##C C-=C C/ \C C\ C-- C%1 C% C%% %10 C%(1 C%() C%(1234567)CC%(1234567) C>C CC> >CC CC>>C
CC>>CC C>O>N >> > CCO>>CC=O [CH3:1]O>>[CH3:1]N C(C)(C)(C)(C)C CFC C=F N(C)(C)(C)C O(C)(C)C [O](C)(C)C c1cccc1 c1ccccc1c n1cccc1
c1cccnc1c1 [nH]1ccccc1 C#C#C F=F C=O=C Cl(C)(C)C c cc ccc n o c1ccc1c [te]1ccccc1 1CC 1 11 123 C1C1 C11 C1=1 CC1CC2 CC%99 &1 C& C&C @ C@
C@@C ! C! !C ? C? "C" 'C' `C` C,C C;C {C} C|C C^C C_C C+C C++ +C C*1 NaN nan null None N/A n/a -- NA. inf 0 0.0 1e5 12345 TRUE false #N/A
#REF! #VALUE! =C1 =CMD() <smiles> </a> &amp; %20 C%20C \n \N \x00 http://x smiles SMILES InChI=1S/CH4/h1H4 1S/CH4/h1H4
LFQSCWFLJHTTHZ-UHFFFAOYSA-N ethanol aspirin caffeine C2H6O CH4 H2O CO2 CH3CH2OH NaCl HCl No

[C+999999999] [C+16] [C-16] [O-20] [C+300] [CH10] [CH99] [CH256] [1000C] [99999999999C] [CH4:1234] [C:99999999999] [#119] [#300] [#999999]
"""
REFUSED = _REFUSED.split()
REFUSED += [
    "", " ", "\t", "\r", "\n", "\u00a0", "\u3000", "CC extra", "CC\textra", "CC\nCC", "CC |$a$|", "C C", "CCé", "éCC", "C\u200bC",
    "\ufeffCC", "CC\ufeff", "C\u00adC", "ＣＣ", "С", "Ο", "C–C", "C−C", "[N−]", "[Na⁺]", "C₂H₆", "C\u0301", "☃", "🧪", "\u202eCC",
    "C\u0085C", "C\x1cC", "C\x7fC", "C\x01C", "C\x1bC", "‘C’", "“CC”", "C＝C", "Ｃl", "𝐂", "C" * 1_001, "C" * 5_001,
    "C(" * 2_000 + ")" * 2_000, "N#" * 3_000, "[" * 4_000, "(" * 4_999, "c1" + "c" * 998 + "1", "1" * 4_000, "[C" + "9" * 400 + "]",
    "C%" + "1" * 300, "." * 3_000, "@" * 500, "C" + "(C)" * 20, *poison.POISON.values(),
]  # fmt: skip
ODD = [(text, True) for text in ACCEPTED] + [(text, False) for text in REFUSED]

POLICY = ParsePolicy()


def config_of(**sections):
    views = {"a": {"modality": "fingerprint", "kinds": ["ecfp4"], "width": 256}, "b": {"like": "a", "drop": 0.1}}
    return RunConfig.from_dict({"views": views, "pairs": [["a", "b"]], "objectives": [{"name": "barlow_twins"}], **sections})


@pytest.fixture(scope="module")
def odd_table(tmp_path_factory) -> tuple[Path, list[str]]:
    """The odd values as a csv, in an order drawn by a seed, each twice so that rows are not unique values; and the rows."""
    rows = [text for text, _ in ODD] * 2
    random.Random(0).shuffle(rows)
    path = tmp_path_factory.mktemp("odd") / "odd.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["smiles"], *([text] for text in rows)])
    return path, rows


# Odd values


def test_the_list_of_odd_values_is_long_and_says_one_thing_of_each():
    assert len({text for text, _ in ODD}) == len(ODD) >= 300


def test_each_odd_value_is_accepted_or_refused_as_expected():
    found = dict(zip([text for text, _ in ODD], refusal_reasons([text for text, _ in ODD], POLICY), strict=True))
    assert [(text[:40], found[text]) for text, accepted in ODD if bool(found[text]) == accepted] == []


def test_what_is_accepted_is_what_rdkit_reads():
    from molbt.data.molecules import parse_molecules

    for text, (mol, _) in zip(ACCEPTED, parse_molecules(ACCEPTED, POLICY), strict=True):
        assert Chem.MolToSmiles(mol) == Chem.MolToSmiles(Chem.MolFromSmiles(text.strip()))


@pytest.mark.parametrize("isolated", [False, True])
def test_no_odd_row_costs_another(odd_table, tmp_path, monkeypatch, isolated):
    monkeypatch.setattr(isolation, "ISOLATED_FROM", -1 if isolated else 1_000_000)
    path, rows = odd_table
    corpus = prepare(path, config_of(), directory=tmp_path / "c")
    accepted = dict(ODD)
    assert corpus.n_rows == len(rows)
    assert read_quarantine(corpus)["row"].tolist() == [row for row, text in enumerate(rows) if not accepted[text]]
    assert read_quarantine(corpus)["reason"].str.len().gt(0).all()


def test_every_odd_row_comes_out_of_featurize_in_its_place(odd_table, tiny_run, tmp_path):
    path, rows = odd_table
    output = tmp_path / "features.parquet"
    assert run(["featurize", str(path), "--model", str(tiny_run), "-o", str(output)]) == 0
    written = pd.read_parquet(output)
    assert written["smiles"].tolist() == rows
    accepted = np.array([dict(ODD)[text] for text in rows])
    np.testing.assert_array_equal(written["molbt_reason"].fillna("").eq("").to_numpy(), accepted)
    np.testing.assert_array_equal(written.filter(like="moleculefeaturizer").notna().all(axis=1).to_numpy(), accepted)


# Odd bytes


def mutants(n: int, seed: int) -> list[bytes]:
    """Real SMILES with one to four bytes changed, removed, doubled or put in; no line ends."""
    draw = random.Random(seed)
    smiles = [text.encode() for text in poison.molecules(2_000)]
    found = []
    for _ in range(n):
        text = bytearray(draw.choice(smiles))
        for _ in range(draw.choice([1, 1, 2, 4])):
            place, way = draw.randrange(len(text) + 1), draw.randrange(4)
            byte = draw.choice([draw.randrange(256), *b"()[]=#@+-%123456789CNOcno.:/\\"])
            if way == 0 and place < len(text):
                text[place] = byte
            elif way == 1 and place < len(text):
                del text[place]
            elif way == 2:
                text[place:place] = text[: draw.randrange(len(text) + 1)]
            else:
                text.insert(place, byte)
        found.append(bytes(text).replace(b"\n", b"?"))
    return found


@pytest.mark.parametrize("n", [1_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_mutated_smiles_kill_no_process_and_lose_no_row(n, tmp_path, monkeypatch):
    monkeypatch.setattr(isolation, "ISOLATED_FROM", -1)
    lines = mutants(n, seed=n)
    path = tmp_path / "mutants.smi"
    path.write_bytes(b"C\n" + b"".join(line + b"\n" for line in lines))
    table = read_table(path)
    assert len(table.frame) == n + 1
    [[worker, _]] = map_blocks(poison.process, ["C"], POLICY)
    killed = {}
    cells = table.frame["smiles"].tolist()
    hashes = map_rows(poison.hashes, cells, POLICY, refused=killed)
    assert killed == {}
    assert len(hashes) == n + 1
    [[same, _]] = map_blocks(poison.process, ["C"], POLICY)
    assert same == worker, "a worker died"
    with rdBase.BlockLogs():
        for text, line, (key, _) in zip(cells, [b"C", *lines], hashes.tolist(), strict=True):
            if key:  # what was read is all there, and RDKit reads it too
                assert text.encode() == line.replace(b"\t", b" ").strip(b" ").split(b" ")[0]
                assert Chem.MolFromSmiles(text) is not None


COMPRESS = {"": bytes, "gz": gzip.compress, "zst": zstandard.ZstdCompressor(write_checksum=True).compress}


@given(st.binary(max_size=200) | st.text('ab,"\n\r\t CO1=\0é', max_size=60).map(str.encode), st.sampled_from(["csv", "tsv", "smi", "sdf"]))
@settings(max_examples=300)
def test_any_bytes_are_rows_or_a_data_error(tmp_path_factory, content, ending):
    path = tmp_path_factory.mktemp("any") / f"table.{ending}"
    path.write_bytes(content)
    try:
        table = read_table(path)
    except DataError:
        return
    assert all(0 <= row < len(table.frame) for row in table.problems)
    assert len(table.byte_offsets) == len(table.frame)
    assert (np.diff(table.byte_offsets) > 0).all()
    if ending in ("csv", "tsv") and b'"' not in content:  # one row per line below the header, the first line that is not blank
        lines = content.removeprefix(b"\xef\xbb\xbf").removesuffix(b"\n").split(b"\n")
        header = next(place for place, line in enumerate(lines) if line.strip(b" \r"))
        assert len(table.frame) == len(lines) - header - 1


@given(st.data(), st.sampled_from(["gz", "zst"]))
@settings(max_examples=200)
def test_damaged_compression_is_rows_or_a_data_error(tmp_path_factory, data, ending):
    whole = bytearray(COMPRESS[ending](b"".join(b"C%d name\n" % n for n in range(200))))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("any") / f"table.smi.{ending}"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    rows = 0
    try:
        for chunk in iter_table(path, chunk_rows=10):
            rows += len(chunk.frame)
    except DataError:
        pass
    assert rows <= 200 + 1_032 * len(whole)


@given(st.data())
@settings(max_examples=200)
def test_damaged_parquet_is_rows_or_a_data_error(tmp_path_factory, data):
    buffer = io.BytesIO()
    pd.DataFrame({"smiles": ["CCO", "c1ccccc1", None] * 9, "y": [1.5, 2, None] * 9}).to_parquet(buffer)
    whole = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("any") / "table.parquet"
    path.write_bytes(whole)
    try:
        n_rows = sum(len(chunk.frame) for chunk in iter_table(path))
    except DataError:
        return
    assert n_rows == pq.ParquetFile(path).metadata.num_rows


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_a_file_cut_anywhere_gives_the_rows_before_and_an_error(tmp_path, ending):
    lines = [b"C%dCC%d name%d\n" % (i % 7 + 1, i % 7 + 1, i * i) for i in range(600)]
    compressed = COMPRESS[ending](b"".join(lines))
    path = tmp_path / f"table.smi.{ending}"
    for cut in range(1, len(compressed), 7):
        path.write_bytes(compressed[:cut])
        names = []
        chunks = iter_table(path, chunk_rows=1)
        with pytest.raises(DataError, match=rf"table\.smi\.{ending} is cut short at its byte {cut:,}"):
            names.extend(name for chunk in chunks for name in chunk.frame["name"])
        assert names == [f"name{i * i}" for i in range(len(names))]


# Every reader and command

ROWS = ["CCO", "C1CC", "c1ccccc1O", "", "CCO", "CCN", "CCC(=O)O"]


def text_of_rows(ending: str) -> bytes:
    if ending == "smi":
        return "".join(f"{text} row {row}\n" if text else "\n" for row, text in enumerate(ROWS)).encode()
    if ending == "sdf":
        blocks = [Chem.MolToMolBlock(Chem.MolFromSmiles(text)) if text not in ("C1CC", "") else "broken\n\n\nM  END\n" for text in ROWS]
        return "".join(block + "$$$$\n" for block in blocks).encode()
    separator = "," if ending == "csv" else "\t"
    return ("smiles" + separator + "row\n" + "".join(f"{text}{separator}{row}\n" for row, text in enumerate(ROWS))).encode()


def write_rows(folder: Path, ending: str) -> Path:
    path = folder / f"table.{ending}"
    kind, _, compression = ending.partition(".")
    if kind == "parquet":
        pd.DataFrame({"smiles": ROWS, "row": range(len(ROWS))}).to_parquet(path)
    else:
        path.write_bytes(COMPRESS[compression](text_of_rows(kind)))
    return path


ENDINGS = ["csv", "tsv", "smi", "sdf", "parquet", "csv.gz", "tsv.zst", "smi.gz", "smi.zst", "sdf.gz"]


@pytest.fixture(scope="module")
def predictor(tmp_path_factory) -> Path:
    from molbt import Predictor

    smiles = poison.molecules(40)
    labels = [float(len(text)) for text in smiles]
    directory = tmp_path_factory.mktemp("predictor") / "p"
    Predictor(features="counts", head="knn").fit(smiles, labels).save(directory)
    return directory


class Input:
    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


def arguments_of(ending: str, folder: Path, monkeypatch) -> list[str]:
    if not ending.startswith("-"):
        return [str(write_rows(folder, ending))]
    monkeypatch.setattr("sys.stdin", Input(write_rows(folder, ending[1:]).read_bytes()))
    return ["-", "--format", ending[1:]]


@pytest.mark.parametrize("ending", [*ENDINGS, "-csv", "-smi.gz"])
def test_every_format_and_command_keeps_every_row(ending, tiny_run, predictor, tmp_path, monkeypatch):
    refused = [row for row, text in enumerate(ROWS) if text in ("C1CC", "")]
    for command, model in (("featurize", ["--model", str(tiny_run)]), ("predict", ["--predictor", str(predictor)])):
        output = tmp_path / f"{command}.csv"
        assert run([command, *arguments_of(ending, tmp_path, monkeypatch), *model, "-o", str(output)]) == 0
        written = pd.read_csv(output, keep_default_na=False)
        assert len(written) == len(ROWS)
        assert [row for row, reason in enumerate(written["molbt_reason"]) if reason] == refused
        values = written.iloc[:, list(written.columns).index("molbt_reason") + (1 if command == "featurize" else -1)]
        assert [row for row, value in enumerate(values) if value == ""] == refused
    config = tmp_path / "run.yaml"
    config.write_text(config_of().to_yaml())
    arguments = arguments_of(ending, tmp_path, monkeypatch)
    assert run(["prepare", *arguments, "--config", str(config), "-o", str(tmp_path / "corpus")]) == 0
    quarantine = pd.read_csv(tmp_path / "corpus" / "quarantine.csv")
    assert quarantine["row"].tolist() == refused


@pytest.mark.parametrize("command", ["featurize", pytest.param("predict", marks=pytest.mark.slow)])
def test_with_limits_raised_poison_costs_its_own_row_of_a_command(command, nci_smiles, predictor, tmp_path, monkeypatch):
    from molbt import pretrain

    monkeypatch.setattr("molbt.data.molecules.ParsePolicy.max_seconds", 1.0)
    smiles = nci_smiles[:60]
    places = [5, 17, 30, 44, 59]
    rows = list(smiles)
    for place, text in zip(places, poison.POISON.values(), strict=True):
        rows.insert(place, text)
    table, output = tmp_path / "t.csv", tmp_path / "out.parquet"
    pd.DataFrame({"smiles": rows}).to_csv(table, index=False)
    small = {"encoder": {"embedding_dim": 16, "hidden": [32]}, "projector": {"widths": [32, 32]}}
    trainer = {"epochs": 1, "batch_size": 32, "num_threads": 1, "probe_size": 32}
    config = config_of(molecules=poison.RAISED, trainer=trainer, **small)
    model = pretrain(smiles, tmp_path / "run", config=config).directory
    if command == "featurize":
        chosen = ["--model", str(model)]
    else:
        from molbt import Predictor

        fitted = Predictor(model=str(model), features="counts+embedding", head="knn").fit(smiles, [float(len(text)) for text in smiles])
        fitted.save(tmp_path / "p")
        chosen = ["--predictor", str(tmp_path / "p")]
    assert run([command, str(table), *chosen, "-o", str(output)]) == 0
    written = pd.read_parquet(output)
    assert written["smiles"].tolist() == rows
    assert [row for row, reason in enumerate(written["molbt_reason"].fillna("")) if reason] == places


# Large files

MEASURE = """
import sys
from molbt.data.tables import iter_table
rows, bad = 0, {}
for chunk in iter_table(sys.argv[1]):
    rows += len(chunk.frame)
    bad |= chunk.problems
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(rows, peak, *bad)
"""


@pytest.mark.parametrize("n", [100_000, pytest.param(10_000_000, marks=pytest.mark.slow)])
def test_a_bad_row_of_a_large_file_costs_one_row_and_memory_stays_flat(n, tmp_path):
    bad, peaks = n // 2 + 3, []
    for rows in (60_000, n):
        path = tmp_path / f"{rows}.csv"
        with path.open("wb") as file:
            file.write(b"smiles,y\n")
            for start in range(0, rows, 1_000):
                lines = [b"C%dCC%d,%d" % (row % 9 + 1, row % 9 + 1, row) for row in range(start, start + 1_000)]
                if start <= bad < start + 1_000:
                    lines[bad - start] = b'"CC,7'
                file.write(b"\n".join(lines) + b"\n")
        done = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True)
        found, peak, *problems = map(int, done.stdout.split())
        assert found == rows
        assert problems == ([bad] if bad < rows else [])
        peaks.append(peak)
        os.remove(path)
    assert peaks[1] - peaks[0] < 30_000, peaks  # kB
