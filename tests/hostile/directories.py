"""Small real directories of every kind that molbt reads, and their checksums made right again after a file was changed."""

import hashlib
import json
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from made_pairs import HELD_OUT, TEXTS, TRAINING, made_rows, made_twin
from small_run import DESCRIPTORS, FINGERPRINTS, nci_smiles, small_config, small_corpus

from molbt import Predictor
from molbt.data.corpus import Corpus, read_quarantine
from molbt.data.seen_molecules import SeenMolecules
from molbt.data.seen_texts import load_seen_texts
from molbt.evaluation.benchmarks.base import RESULT_COLUMNS
from molbt.evaluation.results_file import ResultsFile
from molbt.featurizer import MoleculeFeaturizer
from molbt.predict.saved_predictor import _digest
from molbt.predict.saved_zero_shot import load_zero_shot, save_zero_shot
from molbt.predict.zero_shot import ZeroShotPredictor
from molbt.report.run_record import read_run
from molbt.training.trainer import pretrain

SMILES = nci_smiles(80)
CONFIG = small_config(trainer={"epochs": 1}, encoder={"hidden": [8], "embedding_dim": 4}, projector={"widths": [4]})
BOTH = small_config(views={**FINGERPRINTS, "descriptors": DESCRIPTORS})
LONGEST = 60  # seconds that one file may take; most take a fraction of one
CELL = ("b", "d", "t", "s", 0, 1.0, "f", "h")
SETTINGS: dict[str, dict[str, object]] = {"shared": {"seed": 0}, "features": {}, "heads": {}}


def make(place: Path) -> Path:
    """Write a corpus, a run that still has to write its model, a model, two predictors, one for texts, and results."""
    small_corpus(place / "corpus", n=80)
    pretrain(place / "corpus", place / "run", config=CONFIG)
    shutil.copytree(place / "run" / "model", place / "model")
    (place / "run" / "model" / "config.json").unlink()
    y = np.array([float(len(smiles)) for smiles in SMILES])
    lightgbm = {"head_parameters": {"n_trees": 3, "num_leaves": 4}, "features": "counts+embedding", "model": place / "model"}
    Predictor(head="lightgbm", calibration=0.3, **lightgbm).fit(SMILES, y).save(place / "lightgbm")
    Predictor(head="ridge", features="counts", calibration=None, applicability=False).fit(SMILES[:30], y[:30]).save(place / "ridge")
    pairs, training = ([made_rows(names, n=20)[name] for name in ("smiles", "text", "label")] for names in (HELD_OUT, TRAINING))
    twin = made_twin(place / "twin")
    save_zero_shot(ZeroShotPredictor.calibrate(twin, *pairs, head="lightgbm", training=tuple(training)), place / "zero_shot")
    (place / "results").mkdir()
    with ResultsFile.open(place / "results" / "results.csv", SETTINGS) as results:
        results.append([row()])
    return place


def row() -> dict[str, object]:
    return dict(zip(RESULT_COLUMNS[:8], CELL, strict=True)) | {"metric": "rmse", "value": 1.0, "n_train": 5, "n_test": 5}


def use_model(directory: Path) -> None:
    MoleculeFeaturizer(directory, on_invalid="nan").fit().transform(["CCO"])
    SeenMolecules.load(directory)


def use_corpus(directory: Path) -> None:
    corpus = Corpus.open(directory)
    samples = corpus.samples(CONFIG)
    for view in BOTH.views.values():
        columns = corpus.columns(view)
        view.build_modality().dense(columns, np.unique(samples.entries["a"].numpy()))
        corpus.reasons(view)
    corpus.values("smiles")
    corpus.byte_offsets()
    corpus.identities("smiles")
    corpus.fatal("smiles")
    read_quarantine(corpus)
    corpus.refused_by_reader()


def use_run(directory: Path) -> None:
    read_run(directory)
    pretrain(directory.parent / "corpus", directory, config=CONFIG, resume=True)


def use_predictor(directory: Path) -> None:
    predictions = Predictor.load(directory).predict(["CCO", "c1ccccc1"])
    assert np.isfinite(predictions).all()
    SeenMolecules.load(directory / "model")


def use_zero_shot(directory: Path) -> None:
    loaded = load_zero_shot(directory)
    loaded.predict_table(["CCO", "c1ccccc1"], TEXTS[HELD_OUT[0]])
    loaded.explain(["CCO", "c1ccccc1"], TEXTS[HELD_OUT[0]])
    SeenMolecules.load(directory / "model")
    load_seen_texts(directory / "model")


def use_results(directory: Path) -> None:
    with ResultsFile.open(directory / "results.csv", SETTINGS) as results:
        results.rows(CELL, ["rmse"])
    pd.read_csv(directory / "results.csv")


USES: dict[str, Callable[[Path], None]] = {
    "model": use_model,
    "corpus": use_corpus,
    "run": use_run,
    "lightgbm": use_predictor,
    "ridge": use_predictor,
    "zero_shot": use_zero_shot,
    "results": use_results,
}


@contextmanager
def no_longer_than(seconds: int) -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise TimeoutError(f"took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def files_of(directory: Path) -> list[Path]:
    """Return the files of a directory that somebody else may have written, as relative paths."""
    found = (path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    return sorted(path for path in found if not path.name.endswith((".lock", ".sha256")))


def sealed(directory: Path) -> None:
    """Make the checksums right for what the files now are, as far as the descriptions can still be read."""
    for path in directory.glob("checkpoints/*.safetensors"):
        path.with_suffix(".sha256").write_text(f"{_sha256(path)}  {path.name}\n")
    if (directory / "predictor.json").is_file():
        _seal_predictor(directory)
    elif (directory / "zero_shot.json").is_file():
        _seal_zero_shot(directory)
    elif (directory / "config.json").is_file() and (config := _read(directory / "config.json")) is not None:
        (directory / "config.json").write_text(json.dumps(config | {"sha256": _sha256(directory / "model.safetensors")}))


def _seal_predictor(directory: Path) -> None:
    content = _read(directory / "predictor.json")
    try:
        if (directory / "model" / "config.json").is_file():
            sealed(directory / "model")
        for number, target in enumerate(content["targets"]):
            place = directory / "heads" / str(number)
            target["head"]["sha256"] = {name: _sha256(place / name) for name in target["head"]["sha256"]}
            if target["calibration"]:
                target["calibration"]["sha256"] = _sha256(place / "calibration.json")
        for part in (content["applicability"], {"sha256": content["model_sha256"]}):
            if part and part["sha256"]:
                below = directory / "model" if part["sha256"] is content["model_sha256"] else directory
                part["sha256"].update({name: _sha256(below / name) for name in part["sha256"]})
        content.pop("sha256")
        (directory / "predictor.json").write_text(json.dumps(content | {"sha256": _digest(content)}))
    except (KeyError, TypeError, AttributeError, OSError):
        return  # what it is now cannot be sealed


def _seal_zero_shot(directory: Path) -> None:
    content = _read(directory / "zero_shot.json")
    try:
        sealed(directory / "model")
        content["model_sha256"] = {name: _sha256(directory / "model" / name) for name in content["model_sha256"]}
        content["calibration"]["sha256"] = _sha256(directory / "calibration.json")
        content["texts"] = {"texts.json": _sha256(directory / "texts.json")}
        below = directory / "boosted"
        for part, place in ((content["applicability"], directory), (content["boosted"], below), (content["boosted"]["head"], below)):
            part["sha256"] = {name: _sha256(place / name) for name in part["sha256"]}
        content.pop("sha256")
        (directory / "zero_shot.json").write_text(json.dumps(content | {"sha256": _digest(content)}))
    except (KeyError, TypeError, AttributeError, OSError):
        return  # what it is now cannot be sealed


def _read(path: Path) -> dict | None:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
