"""The files of a saved zero-shot predictor: ``zero_shot.json``, its known texts, calibration and trees, and a copy of the twin."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from molbt import __version__
from molbt.config_text import describe_problems
from molbt.data.files import atomic_write, new_directory, sha256_of
from molbt.data.json_files import parse_json, read_json
from molbt.errors import CheckpointError
from molbt.pair_featurizer import PairFeaturizer
from molbt.predict.applicability import Applicability, ApplicabilityDescription
from molbt.predict.assay_calibration import Sigmoid
from molbt.predict.calibration import Calibration, CalibrationDescription
from molbt.predict.ranking_quality import RankingQuality
from molbt.predict.saved_boosted_pairs import read_boosted, write_boosted
from molbt.predict.saved_heads import Sha256
from molbt.predict.saved_predictor import check_model, copy_model
from molbt.predict.verified_files import VerifiedFiles
from molbt.predict.zero_shot import ZeroShotPredictor

FORMAT = "molbt.zero_shot"
FORMAT_VERSIONS = (1, 2, 3)
"""Those that are read; the last one is written. The first has no trees, the first two have the texts in ``zero_shot.json``."""

FILE, _TEXTS, _BOOSTED = "zero_shot.json", "texts.json", "boosted"
_REMEDY = "copy it again or make the predictor anew: molbt calibrate"


class _Description(BaseModel):
    """What stands in ``zero_shot.json``; anything else there is refused."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    format: str
    format_version: int
    molbt: str
    slope: Annotated[float, Field(ge=0)]
    intercept: float
    ranking: RankingQuality
    calibration: CalibrationDescription
    texts: list[str] | dict[Annotated[str, Field(pattern=r"^texts\.json$")], Sha256]
    applicability: ApplicabilityDescription | None = None
    boosted: dict[str, Any] | None = None
    model_sha256: dict[str, Sha256]


def is_zero_shot(directory: str | Path) -> bool:
    """Return whether a directory holds a zero-shot predictor."""
    return (Path(directory) / FILE).is_file()


def save_zero_shot(predictor: ZeroShotPredictor, directory: str | Path) -> Path:
    """Write a predictor into a new or empty directory, whole or not at all, and return the directory.

    Raises
    ------
    ConfigError
        If the directory is not empty.
    CheckpointError
        If the twin's files are not those that the predictor was made with.
    """
    with new_directory(directory) as temporary:
        content = {
            "format": FORMAT,
            "format_version": FORMAT_VERSIONS[-1],
            "molbt": __version__,
            "slope": predictor.sigmoid.slope,
            "intercept": predictor.sigmoid.intercept,
            "ranking": predictor.ranking.model_dump(mode="json"),
            "calibration": predictor.calibration.save(temporary),
            "texts": _write_texts(predictor.texts, temporary),
            "applicability": predictor.applicability.save(temporary) if predictor.applicability else None,
            "boosted": _write_boosted(predictor, temporary),
            "model_sha256": copy_model(predictor.featurizer.molecules_, temporary / "model"),
        }
        with atomic_write(temporary / FILE) as file:
            file.write(json.dumps({**content, "sha256": _digest(content)}, indent=1, allow_nan=False).encode())
    return Path(directory)


def load_zero_shot(directory: str | Path, *, n_jobs: int = 1, device: str = "auto") -> ZeroShotPredictor:
    """Return what ``save_zero_shot`` wrote.

    Raises
    ------
    CheckpointError
        If it is missing, damaged or of another format.
    """
    directory = Path(directory)
    content = read_json(directory / FILE, remedy=_REMEDY)
    if content.pop("sha256", None) != _digest(content):
        raise CheckpointError(f"{directory / FILE} is damaged: it does not match its checksum; {_REMEDY}")
    try:
        known = _Description.model_validate_json(json.dumps(content))
    except ValidationError as error:
        raise CheckpointError(describe_problems(error, where=str(directory / FILE))) from error
    fits = (known.boosted is None or known.format_version > 1) and isinstance(known.texts, list) == (known.format_version < 3)
    if known.format != FORMAT or known.format_version not in FORMAT_VERSIONS or not fits:
        raise CheckpointError(f"{directory / FILE} is not of format {FORMAT} {' or '.join(map(str, FORMAT_VERSIONS))}; {_REMEDY}")
    check_model(directory / "model", known.model_sha256)
    featurizer = PairFeaturizer(directory / "model", on_invalid="nan", n_jobs=n_jobs, device=device).fit()
    calibration = Calibration.load(content["calibration"], directory)
    applicability = Applicability.load(content["applicability"], directory) if known.applicability else None
    sigmoid = Sigmoid(known.slope, known.intercept)
    boosted = None if known.boosted is None else read_boosted(known.boosted, featurizer, directory / _BOOSTED, n_jobs=n_jobs)
    texts = known.texts if isinstance(known.texts, list) else _read_texts(VerifiedFiles(directory, known.texts))
    return ZeroShotPredictor(featurizer, sigmoid, calibration, known.ranking, tuple(texts), applicability, boosted)


def _write_texts(texts: Sequence[str], directory: Path) -> dict[str, str]:
    with atomic_write(directory / _TEXTS) as file:
        file.write(json.dumps(list(texts)).encode())
    return {_TEXTS: sha256_of(directory / _TEXTS)}


def _read_texts(files: VerifiedFiles) -> list[str]:
    texts = parse_json(files.read(_TEXTS), files.directory / _TEXTS, remedy=_REMEDY)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise CheckpointError(f"expected a list of texts in {files.directory / _TEXTS}, found something else; {_REMEDY}")
    return texts


def _write_boosted(predictor: ZeroShotPredictor, directory: Path) -> dict[str, Any] | None:
    if predictor.boosted is None:
        return None
    (directory / _BOOSTED).mkdir()
    return write_boosted(predictor.boosted, predictor.featurizer, directory / _BOOSTED)


def _digest(content: dict) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
