"""Pretraining: one function, read top to bottom."""

import contextlib
import logging
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from molbt.config import RunConfig
from molbt.data.corpus import Corpus, Progress, Samples, Source
from molbt.data.exclusions import Exclusion
from molbt.data.quarantine import summarise_use
from molbt.data.samples import drawn_molecules
from molbt.data.seen_texts import save_seen_texts
from molbt.errors import ConfigError, Interrupted, TrainingError
from molbt.model.checkpoint import save_pretrained
from molbt.model.twin_model import TwinModel, check_same_networks
from molbt.nn.collectives import rank, world_size
from molbt.objectives.base import StepContext, Views
from molbt.training.batches import GlobalBatch, SampleStore
from molbt.training.continuation import check_continuation, describe_run, read_record
from molbt.training.diagnostics import collapse_reason, probe_twin
from molbt.training.facts import seen_in_training, texts_in_training, training_facts
from molbt.training.hardware import Hardware, StopRequest
from molbt.training.inputs import as_corpus, default_config
from molbt.training.ranks import average_gradients, joined_ranks, on_any_rank, rank_zero_first
from molbt.training.run_dir import MetricsLog, RunDirectory, SpectrumLog, writing_run
from molbt.training.schedule import learning_rate, set_learning_rates
from molbt.training.starting_point import starting_point
from molbt.training.state import EpochTotals, TrainingState

logger = logging.getLogger(__name__)

# On a GPU, reading a number waits for the device: the loss and stop requests are looked at this often, and before anything is saved.
_CUDA_CHECK_EVERY = 50

# The learning rate warms up and falls within the run: with fewer steps than this, little is learned in between.
_FEW_STEPS = 100

Probe = Callable[[TwinModel, int], Mapping[str, float]]


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes
    ----------
    directory, model : Path
        The run, and the model in it that a featurizer loads.
    metrics : DataFrame
        One row per epoch.
    """

    directory: Path
    model: Path
    metrics: pd.DataFrame


def pretrain(
    molecules: Corpus | Source,
    output: str | Path,
    *,
    config: RunConfig | None = None,
    init: str | Path | None = None,
    resume: bool = False,
    format: str | None = None,
    exclude: Sequence[str | Path | Exclusion] = (),
    licence: str | None = None,
    n_jobs: int = 1,
    probe: Probe | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Train a twin model on molecules.

    Every random choice is a function of the seed, the step and the sample, so a run that was killed at any point and resumed ends
    with the same bits (on a CPU of the same kind, with the same number of threads and ranks). Under ``torchrun`` the processes train
    one model; each batch is divided among them, and the result is that of one process but for rounding.

    Parameters
    ----------
    molecules : Corpus, path, "-", DataFrame or sequence of SMILES
        What is no ``Corpus`` yet is prepared first (``molbt.data.corpus.prepare``), in the cache directory; a directory that
        ``molbt prepare`` wrote is opened.
    output : path
        The run's directory: new or empty, or with ``resume`` the directory of a run of the same configuration and corpus.
    config : RunConfig, optional
        By default that of the run to resume, else that of ``init``, else the preset ``default``.
    init : path, optional
        A model or run whose weights and fitted scaling the training starts from (domain adaptation); its views must have the same
        encoders. A resumed run remembers it.
    resume : bool
        Continue from the newest whole checkpoint; a finished run is returned as it is, and where none was begun one begins.
    format : str, optional
        The table's format where its name does not tell it.
    exclude : sequence of paths or Exclusion
        Tables of molecules not to train on (see ``prepare``); refused for a corpus, which has its own.
    licence : str, optional
        Of the molecules, for the model's card. A resumed run remembers it.
    n_jobs : int
        Worker processes for preparing; the result does not depend on it.
    probe : callable, optional
        ``probe(twin, step) -> numbers`` called after each epoch, on the first rank; its numbers join the metrics. The trainer itself
        knows no predictor.
    progress : callable, optional
        Called as ``progress(label, steps_done, steps_total)`` after each step, on the first rank.

    Raises
    ------
    ConfigError
        If the output directory holds something else or is in use, or resuming would change the configuration or the corpus.
    CheckpointError
        If the model to start from, or every checkpoint to resume from, is damaged.
    TrainingError
        If a loss, a gradient or a weight is not finite (but for ``trainer.skip_non_finite`` steps), if the representation collapsed and
        ``trainer.stop_on_collapse`` is set, if the run cannot be written, or if another rank has ended or does not answer. The last
        checkpoint stays.
    Interrupted
        After SIGINT or SIGTERM, once the state is saved.
    """
    run = RunDirectory(output)
    with joined_ranks(), contextlib.ExitStack() as claim:
        with rank_zero_first():
            if rank() == 0:
                claim.enter_context(run.claimed(resume=resume))
            begun = read_record(run.path / "run.json") if run.has_run else None
            config = config or default_config(begun, init)
            if begun is None and init is not None:  # before the directory is taken by a run that cannot start
                check_same_networks(default_config(None, init), config)
            corpus = as_corpus(molecules, config, format, exclude, n_jobs, progress)
            samples = corpus.samples(config)
            if rank() == 0:
                logger.info(summarise_use(corpus, samples))
            hardware = Hardware.resolve(config.trainer)
            record = describe_run(corpus, config, samples, hardware, init) | {"licence": licence}
            if begun is None:
                run.write_text("config.yaml", config.to_yaml())
                run.write_text("quarantine.csv", (corpus.directory / "quarantine.csv").read_text(encoding="utf-8"))
                run.write_text("sample.csv", drawn_molecules(corpus, config, samples).to_csv(index=False))
                run.write_json("run.json", record)
            else:
                if init is None:
                    init = begun["init"]
                    record |= {key: begun[key] for key in ("init", "init_sha256")}
                record["licence"] = licence or begun.get("licence")
                hardware = check_continuation(begun, record, place=run.path)
        if run.is_finished:
            logger.info("the run in %s is finished", run.path)
        else:
            with hardware.isolated(), StopRequest().listening() as stop:
                twin = _train(run, corpus, config, samples, hardware, init, stop, probe, progress)
            if rank() == 0:
                seen = seen_in_training(corpus, config, samples, init)
                texts = texts_in_training(corpus, config, samples, init)
                metrics = pd.read_csv(run.path / "metrics.csv")
                facts = training_facts(corpus, config, samples, hardware, metrics, init=init, licence=record["licence"])
                with writing_run(run.model):
                    if seen is not None:
                        seen.save(run.model)
                    if texts is not None:
                        save_seen_texts(texts, run.model)
                    save_pretrained(twin, run.model, facts=facts)
            on_any_rank(False)  # the others wait until the files are there
    return RunResult(run.path, run.model, pd.read_csv(run.path / "metrics.csv"))


def _train(
    run: RunDirectory,
    corpus: Corpus,
    config: RunConfig,
    samples: Samples,
    hardware: Hardware,
    init: str | Path | None,
    stop: StopRequest,
    probe: Probe | None,
    progress: Progress | None,
) -> TwinModel:
    """Take every step that is left, and return the twin on the CPU."""
    trainer, device = config.trainer, torch.device(hardware.device)
    batch_size = _batch_size(trainer.batch_size, len(samples))
    steps_per_epoch = len(samples) // batch_size  # what does not fill a batch is left to the next epoch, which has another order
    total_steps = min(trainer.epochs * steps_per_epoch, trainer.max_steps or sys.maxsize)

    if rank() == 0:
        logger.info("%d steps of %d samples: %d in each of %d epochs", total_steps, batch_size, steps_per_epoch, trainer.epochs)
        if total_steps < _FEW_STEPS:
            logger.warning("%d steps teach an encoder little; raise trainer.epochs or lower trainer.batch_size", total_steps)

    # What is trained, and the samples on the device where the steps run
    columns = {view: corpus.columns(settings) for view, settings in config.views.items()}
    state = starting_point(config, columns, samples, hardware, init=init, checkpoint=run.load_checkpoint())
    if state.step:
        logger.info("resuming %s at step %d of %d", run.path, state.step, total_steps)
    store = SampleStore(
        state.twin.modalities,
        columns,
        samples,
        seed=trainer.seed,
        device=device,
        unique_entities=trainer.unique_entities,
        episodes=trainer.episodes,
        episode_size=trainer.episode_size,
    )
    rows = torch.arange(batch_size, device=device).chunk(world_size())[rank()]
    probe_batch = store.probe(trainer.probe_size)
    metrics = MetricsLog(run.path / "metrics.csv", up_to_step=state.step)
    spectra = SpectrumLog(run.path / "spectra.jsonl", up_to_step=state.step)

    while state.step < total_steps:
        started = time.perf_counter()
        epoch, position = divmod(state.step, steps_per_epoch)
        rate = learning_rate(
            state.step, total_steps=total_steps, peak=trainer.learning_rate, final=trainer.final_learning_rate, warmup=trainer.warmup
        )
        set_learning_rates(state.optimiser, rate, peak=trainer.learning_rate)
        # Dropout and other draws of the networks come from torch's generator, which is set anew at each step.
        hardware.seed(trainer.seed, "step", state.step, rank())
        buffers = [buffer.clone() for buffer in state.buffers] if trainer.skip_non_finite else []

        # Forward, backward
        batch = store.batch(epoch, position, batch_size)
        with hardware.autocast():
            loss, terms = _score(state, config, batch, rows, progress=state.step / total_steps)
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        average_gradients(state.parameters)
        gradient_norm = nn.utils.clip_grad_norm_(state.parameters, trainer.clip_norm or math.inf, foreach=True)
        totals = state.totals.plus({"loss": loss, "gradient_norm": gradient_norm, **terms, **batch.unique_entities()})

        # Look whether to go on: before the weights change, and with the same answer on all ranks
        ends_epoch = position + 1 == steps_per_epoch or state.step + 1 == total_steps
        stopping = is_broken = False
        if ends_epoch or device.type == "cpu" or trainer.skip_non_finite or state.step % _CUDA_CHECK_EVERY == 0:
            stopping, is_broken = on_any_rank(bool(stop), not totals.are_finite())
        if is_broken and state.skipped >= trainer.skip_non_finite:
            raise _not_finite(f"the loss or its gradient is not finite in the epoch up to step {state.step + 1}", run, state)

        # Update
        if is_broken:
            state.put_back(buffers)
            state.skipped += 1
            if rank() == 0:
                logger.warning(
                    "step %d is skipped: its loss or gradient is not finite (%d of %d)",
                    state.step + 1,
                    state.skipped,
                    trainer.skip_non_finite,
                )
        else:
            state.totals = totals
            state.optimiser.step()
            with torch.no_grad():
                for objective in state.each_objective().values():
                    objective.after_step(state.twin, state.step / total_steps)
        state.step += 1
        state.totals.seconds += time.perf_counter() - started
        if progress is not None and rank() == 0:
            progress(f"epoch {epoch + 1}/{trainer.epochs}", state.step, total_steps)

        # Report and save, but nothing that is not finite
        is_due = ends_epoch and ((epoch + 1) % trainer.checkpoint_every == 0 or state.step == total_steps)
        if (is_due or stopping) and on_any_rank(not state.is_finite())[0]:
            raise _not_finite(f"the weights are not finite after step {state.step}", run, state)
        if ends_epoch and not state.totals.steps:
            raise _not_finite(f"the loss or its gradient is not finite in any step of epoch {epoch + 1}", run, state)
        if ends_epoch:
            numbers, probe_spectra = probe_twin(state.twin, probe_batch.all_views(), config.pairs)
            row = _epoch_row(state, epoch=epoch, batch_size=batch_size, rate=rate) | numbers
            if rank() == 0:
                if probe is not None:
                    row |= {f"probe.{name}": value for name, value in probe(state.twin, state.step).items()}
                metrics.append(row)
                spectra.append(state.step, probe_spectra)
                logger.info("epoch %d of %d: %s", epoch + 1, trainer.epochs, _summary(row))
            if reason := collapse_reason(numbers):
                message = f"the representation looks collapsed after epoch {epoch + 1} of {run.path}: {reason}"
                if trainer.stop_on_collapse:
                    raise TrainingError(f"{message}. Change the objectives' weights or the augmentations in a new run")
                logger.warning(message)
            state.totals = EpochTotals()
        if (is_due or stopping) and rank() == 0:
            run.save_checkpoint(state.step, state.to_tensors(), keep=trainer.keep_checkpoints)
        if stopping:
            raise Interrupted(f"stopped at step {state.step} of {total_steps}; the state is saved in {run.path}; continue with --resume")
    return state.twin.cpu()


def _not_finite(what: str, run: RunDirectory, state: TrainingState) -> TrainingError:
    skipped = f" ({state.skipped} steps were skipped)" if state.skipped else ""
    kept = "the last checkpoint is kept" if run.checkpoints.exists() else "there is no checkpoint yet"
    return TrainingError(
        f"{what} of {run.path}{skipped}; {kept}. Lower trainer.learning_rate, or set trainer.precision to fp32, in a new run"
    )


def _batch_size(configured: int, n_samples: int) -> int:
    """Return the size of the global batch: the configured one, or all samples where there are fewer."""
    ranks = world_size()
    if configured % ranks:
        raise ConfigError(f"expected a trainer.batch_size that {ranks} ranks can share, received {configured}; take a multiple of {ranks}")
    size = min(configured, n_samples // ranks * ranks)
    if size < 2:
        raise ConfigError(f"{n_samples} samples are too few for {ranks} ranks; train on fewer ranks")
    if size < configured:
        logger.warning("there are %d samples, so a batch has %d of them, not %d", n_samples, size, configured)
    return size


def _score(
    state: TrainingState, config: RunConfig, batch: GlobalBatch, rows: Tensor, *, progress: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the weighted sum of the objectives on this rank's rows of a batch, and the terms of each by ``label.name``."""
    views = Views(state.twin, batch, rows, len(batch))
    loss = torch.zeros((), device=rows.device)
    terms: dict[str, Tensor] = {}
    for (label, objective), settings in zip(state.each_objective().items(), config.objectives, strict=True):
        context = StepContext(
            pairs=settings.pairs or config.pairs,
            draws=batch.draws(label),
            step_draws=batch.step_draws(label, state.step),
            entities=batch.entities(rows),
            labels=batch.labels(rows),
            progress=progress,
            average_pairs=settings.average_pairs,
        )
        output = objective.step(state.twin, views, context)
        loss = loss + settings.weight * output.loss.float()
        terms |= {f"{label}.{name}": value for name, value in output.terms.items()}
        if len(config.objectives) > 1:
            terms[f"{label}.contribution"] = settings.weight * output.loss.detach().float()
    return loss, terms


def _epoch_row(state: TrainingState, *, epoch: int, batch_size: int, rate: float) -> dict[str, Any]:
    """Return what ``metrics.csv`` holds of an epoch beside the diagnostics; losses and terms are means over its steps."""
    totals = state.totals
    return {
        "step": state.step,
        "epoch": epoch + 1,
        "samples_seen": state.step * batch_size,
        "learning_rate": rate,
        **totals.means(),
        **({"skipped_steps": state.skipped} if state.skipped else {}),
        "seconds": totals.seconds,
        "samples_per_second": totals.steps * batch_size / max(totals.seconds, 1e-9),
    }


def _summary(row: Mapping[str, Any]) -> str:
    ranks = ", ".join(f"rank {name.split('.', 1)[1]} {value:.0f}" for name, value in row.items() if name.startswith("embedding_rank."))
    return f"loss {row['loss']:.4g}, {row['samples_per_second']:,.0f} samples/s, {ranks}"
