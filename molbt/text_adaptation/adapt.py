"""Adapting a language model to the texts of a domain: one function, read top to bottom."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from molbt import __version__
from molbt.config_text import differences
from molbt.data.seen_texts import save_seen_texts, text_keys
from molbt.errors import CheckpointError, ConfigError
from molbt.modalities._text_models import TextModelFiles, find_text_model
from molbt.text_adaptation.epochs import EpochBatches
from molbt.text_adaptation.masking import Windows
from molbt.text_adaptation.network import MaskedTokenPredictor, check_trainable, load_predictor, load_tokenizer, save_language_model
from molbt.text_adaptation.perplexity import HeldOutTokens, perplexity, perplexity_ratio, unigram_losses
from molbt.text_adaptation.settings import AdaptationConfig
from molbt.text_adaptation.texts import DividedTexts, divide, read_texts
from molbt.text_adaptation.training import Progress, train
from molbt.training.hardware import Hardware, StopRequest
from molbt.training.run_dir import RunDirectory, writing_run

logger = logging.getLogger(__name__)

FORMAT = "molbt.text_adaptation"
FORMAT_VERSION = 1
_REMEDY = "adapt again in a new directory"


@dataclass(frozen=True)
class AdaptationResult:
    """A finished adaptation.

    Attributes
    ----------
    directory, model : Path
        The run, and the language model in it, which the modality ``text`` reads.
    report : dict
        What ``adaptation.json`` beside the weights holds: perplexities on the held-out texts, before, after, and of the controls.
    """

    directory: Path
    model: Path
    report: dict[str, Any]


def adapt_text(
    texts: str | Path | Sequence[str],
    output: str | Path,
    *,
    model: str = "minilm",
    revision: str | None = None,
    config: AdaptationConfig | None = None,
    columns: Sequence[str] = ("text",),
    format: str | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> AdaptationResult:
    """Continue the masked-language-model training of an encoder of texts.

    Every random choice is a function of the seed, the epoch and the text, or of the step, so a run that was killed at any point and
    resumed ends with the same bits (on a CPU of the same kind, with the same number of threads). One process; no ranks.

    Parameters
    ----------
    texts : path, "-" or sequence of str
        A file (see ``read_texts``), or the texts themselves.
    output : path
        New or empty, or with ``resume`` the directory of a run of the same settings.
    model, revision : str
        See ``find_text_model``.
    config : AdaptationConfig, optional
        By default that of the run to resume.
    columns, format
        Of the file.
    resume : bool
        Go on from the newest whole checkpoint; a finished run is returned as it is, and where none was begun one begins.
    progress : callable, optional
        ``progress(label, done, total)``

    Raises
    ------
    ConfigError
        If the model cannot be trained so, the output holds something else or is in use, or resuming would change settings, texts or model.
    DataError
        If the texts cannot be read or are too few.
    CheckpointError
        If the model, or every checkpoint, is damaged.
    TrainingError
        If a loss is not finite or the run cannot be written.
    Interrupted
        After SIGINT or SIGTERM, once the state is saved.

    References
    ----------
    Gururangan et al., "Don't Stop Pretraining: Adapt Language Models to Domains and Tasks", ACL 2020,
    https://arxiv.org/abs/2004.10964
    """
    run = RunDirectory(output)
    with run.claimed(resume=resume):
        begun = run.read_json("run.json") if run.has_run else None
        config = config or (AdaptationConfig(**begun["config"]) if begun else AdaptationConfig())
        files = find_text_model(model, revision)
        check_trainable(files, config)
        tokenizer = load_tokenizer(files)
        if isinstance(texts, str | Path):
            source, records = Path(texts).name, read_texts(texts, columns, format=format)
        else:
            source, records = "texts given in memory", [[text] for text in texts if text.strip()]
        divided = divide(records, held_out=config.held_out, seed=config.seed)
        hardware = Hardware.resolve(config.trainer())
        record = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "config": config.model_dump(mode="json"),
            "model": model,
            "model_sha256": files.sha256,
            "source": source,
            "texts_sha256": divided.sha256,
            "hardware": hardware.as_dict(),
            "versions": _versions(),
        }
        if begun is None:
            run.write_json("run.json", record)
        else:
            hardware = _continued(begun, record, hardware, run.path)
        if not run.is_finished:
            logger.info("%d texts to train on, %d held out", len(divided.training), len(divided.held_out))
            with hardware.isolated(), StopRequest().listening() as stop:
                _Adaptation(run, config, hardware, files, tokenizer, divided, stop, progress).work(record)
        shutil.rmtree(run.checkpoints, ignore_errors=True)  # of no use to a finished run, and several times the size of the model
    report = run.read_json("model/adaptation.json")
    return AdaptationResult(run.path, run.model, report)


class _Adaptation:
    """The measurements and the trainings of one adaptation, in order; what is done already is not done again."""

    def __init__(
        self,
        run: RunDirectory,
        config: AdaptationConfig,
        hardware: Hardware,
        files: TextModelFiles,
        tokenizer: Any,
        divided: DividedTexts,
        stop: StopRequest,
        progress: Progress | None,
    ) -> None:
        self.run, self.config, self.hardware, self.files, self.divided = run, config, hardware, files, divided
        self.stop, self.progress = stop, progress
        sizes: dict[str, Any] = {"max_tokens": config.max_tokens, "seed": config.seed}
        self.held_out = HeldOutTokens(tokenizer, divided.held_out, divided.held_out_group, **sizes)
        self.batches = EpochBatches(tokenizer, divided.training, batch_size=config.batch_size, shuffle=config.shuffle, **sizes)
        self.training_windows = Windows.of_texts(tokenizer, divided.training, config.max_tokens)
        measured = run.path / "measured.json"
        self.measured: dict[str, list[float]] = run.read_json(measured.name) if measured.is_file() else {}

    def work(self, record: Mapping[str, Any]) -> None:
        predictor = self._fresh()
        self._measure("before", predictor)
        self._measure_unigrams(predictor)
        control = self.config.head_control
        if control if control is not None else bool(predictor.new_head):
            self._train_head_alone()
        if self.config.lora_rank is not None:
            predictor.freeze_body()
            self.hardware.seed(self.config.seed, "adapters")
            predictor.add_adapters(self.config.lora_rank)
            predictor.to(self.hardware.device)
        self._train(predictor, self.run, "adapting")
        predictor.merge_adapters()
        self._measure("after", predictor)
        report = self._report(predictor, record)
        with writing_run(self.run.model):
            save_seen_texts(text_keys(self.divided.training), self.run.model)
        self.run.write_json("model/adaptation.json", report)
        save_language_model(predictor, self.files, self.run.model)

    def _fresh(self) -> MaskedTokenPredictor:
        """The model as it was; a head that it lacks is the same each time."""
        self.hardware.seed(self.config.seed, "head")
        return load_predictor(self.files).to(self.hardware.device)

    def _train_head_alone(self) -> None:
        alone = RunDirectory(self.run.path / "head_only")
        if "head_only" in self.measured:
            shutil.rmtree(alone.path, ignore_errors=True)
            return
        predictor = self._fresh()
        predictor.freeze_body()
        with writing_run(alone.path):
            alone.path.mkdir(exist_ok=True)
        self._train(predictor, alone, "head only")
        self._measure("head_only", predictor)
        shutil.rmtree(alone.path)

    def _train(self, predictor: MaskedTokenPredictor, run: RunDirectory, label: str) -> None:
        train(predictor, self.batches, self.config, self.hardware, run, stop=self.stop, label=label, progress=self.progress)

    def _measure(self, name: str, predictor: MaskedTokenPredictor) -> None:
        """Keep the summed losses on the held-out tokens; in float32 on any machine."""
        if name in self.measured:
            return
        predictor.eval()
        device = torch.device(self.hardware.device)
        shown = (lambda done, total: self.progress(f"held-out texts, {name}", done, total)) if self.progress else None  # type: ignore[misc]
        self._keep(name, self.held_out.losses(lambda batch: predictor.losses(batch.to(device)), shown))

    def _measure_unigrams(self, predictor: MaskedTokenPredictor) -> None:
        ordinary = self.training_windows.ids[~self.training_windows.is_special]
        losses = unigram_losses(torch.bincount(ordinary, minlength=predictor.network.config.vocab_size))
        self._keep("unigrams", self.held_out.losses(lambda batch: losses[batch.targets]))

    def _keep(self, name: str, losses: np.ndarray) -> None:
        self.measured[name] = losses.tolist()
        self.run.write_json("measured.json", self.measured)

    def _report(self, predictor: MaskedTokenPredictor, record: Mapping[str, Any]) -> dict[str, Any]:
        tokens = self.held_out.tokens_of_group
        losses = {name: np.array(values) for name, values in self.measured.items()}
        controls = [name for name in losses if name != "after"]
        return {
            **{key: record[key] for key in ("format", "format_version", "config", "model", "model_sha256", "source", "versions")},
            "training_texts": len(self.divided.training),
            "held_out_texts": self.held_out.n_texts,
            "held_out_groups": self.held_out.n_groups,
            "held_out_tokens": self.held_out.n_tokens,
            "head": f"initialised from seed {self.config.seed}" if predictor.new_head else "that of the model",
            "perplexity": {name: perplexity(values, tokens) for name, values in losses.items()},
            "after_over": {name: perplexity_ratio(losses["after"], losses[name], tokens) for name in controls},
        }


def _continued(begun: Mapping[str, Any], record: Mapping[str, Any], hardware: Hardware, place: Path) -> Hardware:
    """Return what a resumed run computes on: precision and threads as before."""
    if (begun.get("format"), begun.get("format_version")) != (FORMAT, FORMAT_VERSION):
        raise ConfigError(f"expected an adaptation of texts in {place}, found {begun.get('format')!r}; choose another directory")
    same = ("config", "model_sha256", "texts_sha256")
    try:
        changed = differences({key: begun[key] for key in same}, {key: record[key] for key in same})
        before = Hardware(**begun["hardware"])
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{place / 'run.json'} does not tell how the run began ({error!r}); {_REMEDY}") from error
    if changed:
        raise ConfigError(f"{place} was started with other settings: {'; '.join(changed)}. Resume with the same ones, or start anew")
    if before.device.split(":")[0] != hardware.device.split(":")[0]:
        raise ConfigError(f"{place} was started on {before.device}, here it would run on {hardware.device}; resume it on the same kind")
    return Hardware(hardware.device, before.precision, before.num_threads, hardware.machine)


def _versions() -> dict[str, str]:
    from transformers import __version__ as of_transformers

    return {"molbt": __version__, "torch": torch.__version__, "transformers": of_transformers}
