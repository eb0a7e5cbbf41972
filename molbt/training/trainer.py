"""Pretraining: one function, read top to bottom."""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.distributed as dist
from torch import Tensor, nn

from molbt import __version__
from molbt.config import RunConfig, differences
from molbt.data.columns import Column
from molbt.data.corpus import Corpus, Progress, Samples, Source, is_corpus, prepare
from molbt.draws import Draws, mix_words
from molbt.errors import CheckpointError, ConfigError, Interrupted, TrainingError
from molbt.model.checkpoint import from_pretrained, save_pretrained
from molbt.model.twin_model import TwinModel, encoder_keys
from molbt.nn.collectives import rank, world_size
from molbt.objectives.base import Objective, StepContext, Views
from molbt.training.diagnostics import collapse_reason, probe_twin
from molbt.training.hardware import Hardware, StopRequest
from molbt.training.run_dir import MetricsLog, RunDirectory, SpectrumLog
from molbt.training.schedule import learning_rate, parameter_groups

logger = logging.getLogger(__name__)

# On a GPU, reading a number waits for the device: the loss is checked this often, and before anything is saved.
_CUDA_CHECK_EVERY = 50

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
    exclude: Sequence[str | Path] = (),
    n_jobs: int = 1,
    probe: Probe | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Train a twin model on molecules.

    Every random choice is a function of the seed, the step and the sample, so a run that was killed at any point and resumed ends
    with the same bits (on the same kind of machine, with the same number of threads and ranks).

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
        encoders.
    resume : bool
        Continue from the newest whole checkpoint; a finished run is returned as it is.
    exclude : sequence of paths
        Tables of molecules not to train on (see ``prepare``; ignored for a corpus, which has its own exclusions).
    n_jobs : int
        Worker processes for preparing; the result does not depend on it.
    probe : callable, optional
        ``probe(twin, step) -> numbers`` called after each epoch; its numbers join the metrics. The trainer itself knows no predictor.
    progress : callable, optional
        Called as ``progress(label, steps_done, steps_total)`` after each step.

    Raises
    ------
    ConfigError
        If the output directory holds something else, or resuming would change the configuration or the corpus.
    TrainingError
        If the loss is not finite, or the representation collapsed and ``trainer.stop_on_collapse`` is set. The last checkpoint stays.
    Interrupted
        After SIGINT or SIGTERM, once the state is saved.
    """
    run = RunDirectory(output)
    if config is None:
        config = _default_config(run, init, resume)
    corpus = _as_corpus(molecules, config, exclude, n_jobs, progress)
    with run.locked() if rank() == 0 else contextlib.nullcontext(), StopRequest().listening() as stop:
        samples = corpus.samples(config)
        hardware = Hardware.resolve(config.trainer)
        record = _describe_run(corpus, config, samples, hardware, init)
        if run.has_run and resume:
            hardware = _check_resume(run, record)
            if (run.model / "config.json").is_file():
                logger.info("the run in %s is finished", run.path)
                return RunResult(run.path, run.model, pd.read_csv(run.path / "metrics.csv"))
        elif rank() == 0:
            run.refuse_foreign_content()
            run.write_text("config.yaml", config.to_yaml())
            run.write_json("run.json", record)
        with hardware.isolated():
            return _train(run, corpus, config, samples, hardware, init, stop, probe, progress or (lambda label, done, total: None))


def _train(
    run: RunDirectory,
    corpus: Corpus,
    config: RunConfig,
    samples: Samples,
    hardware: Hardware,
    init: str | Path | None,
    stop: StopRequest,
    probe: Probe | None,
    progress: Progress,
) -> RunResult:
    trainer, device = config.trainer, torch.device(hardware.device)
    batch_size = min(trainer.batch_size, len(samples)) // world_size() * world_size()
    steps_per_epoch = len(samples) // batch_size
    total_steps = min(trainer.epochs * steps_per_epoch, trainer.max_steps or trainer.epochs * steps_per_epoch)

    # The model, the objectives, the optimiser
    torch.manual_seed(mix_words(trainer.seed, "initialisation"))
    prepared = {name: corpus.columns(view) for name, view in config.views.items()}
    twin = from_pretrained(init) if init is not None else TwinModel(config, _fit(config, prepared, samples))
    _check_views(twin, config)
    twin.config, twin.modalities = config, {name: view.build_modality() for name, view in config.views.items()}
    twin.to(device).train()
    objectives = nn.ModuleList(objective.build() for objective in config.objectives)
    for objective, settings in zip(_each(objectives), config.objectives, strict=True):
        objective.build(twin, pairs=settings.pairs or config.pairs, n_tasks=samples.n_tasks)
    objectives.to(device).train()
    groups = parameter_groups([twin, objectives], weight_decay=trainer.weight_decay)
    optimiser = torch.optim.AdamW(groups, lr=trainer.learning_rate, fused=True)
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    names = {parameter: name for name, parameter in _named(twin, objectives, nn.Module.named_parameters)}

    # Where to start
    first_step, sums, sums_count = 0, {}, 0
    checkpoint = run.load_checkpoint()
    if checkpoint is not None:
        tensors, state = checkpoint
        first_step, sums_count = state["step"], state["sums_count"]
        sums = {key.removeprefix("sums."): value.to(device) for key, value in tensors.items() if key.startswith("sums.")}
        _load_state(tensors, twin, objectives, optimiser, names)
        logger.info("resuming %s at step %d of %d", run.path, first_step, total_steps)
    elif world_size() > 1:
        for tensor in [*twin.state_dict().values(), *objectives.state_dict().values()]:
            dist.broadcast(tensor, src=0)
    metrics = MetricsLog(run.path / "metrics.csv", up_to_step=first_step)
    spectra = SpectrumLog(run.path / "spectra.jsonl", up_to_step=first_step)

    # The data, on the device where the steps run
    columns = {name: {key: column.to(device) for key, column in parts.items()} for name, parts in prepared.items()}
    entries = {name: index.to(device) for name, index in samples.entries.items()}
    labels = {name: column.to(device) for name, column in samples.labels.items()}

    def views_of(index: Tensor, epoch: int) -> dict[str, Any]:
        """Gather and augment the views of samples; the draws depend on the sample and the epoch only."""
        batches = {}
        for name, modality in twin.modalities.items():
            batch = modality.collate(columns[name], entries[name][index])
            batches[name] = modality.augment(batch, Draws.for_rows(index, seed=trainer.seed, epoch=epoch, view=name))
        return batches

    probe_index = _permutation(len(samples), trainer.seed, epoch=-1)[: min(trainer.probe_size, len(samples))].to(device)

    def save(step: int) -> None:
        if rank() != 0:
            return
        tensors = _state(twin, objectives, optimiser, names) | {f"sums.{name}": value for name, value in sums.items()}
        run.save_checkpoint(step, tensors, {"sums_count": sums_count}, keep=trainer.keep_checkpoints)

    def check_loss(step: int) -> None:
        if sums and not math.isfinite(float(sums["loss"])):
            kept = "the last checkpoint is kept" if run.checkpoints.exists() else "there is no checkpoint yet"
            raise TrainingError(
                f"the loss is not finite in the steps up to {step} of {run.path}; {kept}. Lower trainer.learning_rate, or resume with "
                "trainer.precision fp32 in a new run"
            )

    started, steps_before = time.perf_counter(), first_step
    permutation = torch.empty(0, dtype=torch.int64)
    for step in range(first_step, total_steps):
        epoch, position = divmod(step, steps_per_epoch)
        if position == 0 or not len(permutation):
            permutation = _permutation(len(samples), trainer.seed, epoch)
        index = permutation[position * batch_size : (position + 1) * batch_size]
        index = index.chunk(world_size())[rank()].to(device)

        # Dropout and other draws of the networks come from torch's generator, which is set anew at each step.
        torch.manual_seed(mix_words(trainer.seed, "step", step, rank()))
        rate = learning_rate(
            step, total_steps=total_steps, peak=trainer.learning_rate, final=trainer.final_learning_rate, warmup=trainer.warmup
        )
        for group in optimiser.param_groups:
            group["lr"] = rate
        step_progress = step / total_steps
        batches = views_of(index, epoch)
        entities = {name: numbers[index] for name, numbers in entries.items()}
        batch_labels = {name: column.gather(index) for name, column in labels.items()}
        with hardware.autocast():
            views = Views(twin, batches)
            loss, terms = torch.zeros((), device=device), {}
            for objective, settings in zip(_each(objectives), config.objectives, strict=True):
                context = StepContext(
                    pairs=settings.pairs or config.pairs,
                    entities=entities,
                    draws=Draws.for_rows(index, seed=trainer.seed, epoch=epoch, view=f"objective {settings.name}"),
                    step_draws=Draws.for_rows(torch.full_like(index, step), seed=trainer.seed, epoch=epoch, view="step"),
                    progress=step_progress,
                    labels=batch_labels,
                )
                output = objective.step(twin, views, context)
                loss = loss + settings.weight * output.loss.float()
                terms |= {f"{settings.name}.{name}": value for name, value in output.terms.items()}
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        _average_gradients(parameters)
        gradient_norm = nn.utils.clip_grad_norm_(parameters, trainer.clip_norm or math.inf, foreach=True)
        for name, value in {"loss": loss, "gradient_norm": gradient_norm, **terms}.items():
            value = value.detach().double()
            sums[name] = sums[name] + value if name in sums else value
        sums_count += 1
        if device.type == "cpu" or step % _CUDA_CHECK_EVERY == 0:
            check_loss(step)
        optimiser.step()
        for objective in _each(objectives):
            objective.after_step(twin, step_progress)
        progress(f"epoch {epoch + 1}/{trainer.epochs}", step + 1, total_steps)

        done = step + 1
        if stop:
            check_loss(step)
            save(done)
            raise Interrupted(f"stopped at step {done} of {total_steps}; the state is saved in {run.path}; continue with --resume")
        if done % steps_per_epoch == 0 or done == total_steps:
            check_loss(step)
            seconds = time.perf_counter() - started
            row: dict[str, Any] = {
                "step": done,
                "epoch": epoch + 1,
                "samples_seen": done * batch_size,
                "learning_rate": rate,
                **{name: float(value) / sums_count for name, value in sums.items()},
                "seconds": seconds,
                "samples_per_second": (done - steps_before) * batch_size / max(seconds, 1e-9),
            }
            numbers, probe_spectra = probe_twin(twin, views_of(probe_index, epoch=-1), config.pairs)
            row |= numbers
            if probe is not None:
                row |= {f"probe.{name}": value for name, value in probe(twin, done).items()}
            if rank() == 0:
                metrics.append(row)
                spectra.append(done, probe_spectra)
            sums, sums_count = {}, 0
            started, steps_before = time.perf_counter(), done
            logger.info("epoch %d of %d: %s", epoch + 1, trainer.epochs, _summary(row))
            collapsed = collapse_reason(numbers)
            if collapsed and trainer.stop_on_collapse:
                raise TrainingError(f"the representation collapsed after epoch {epoch + 1} of {run.path}: {collapsed}")
            if collapsed:
                logger.warning("the representation looks collapsed after epoch %d: %s", epoch + 1, collapsed)
            if (epoch + 1) % trainer.checkpoint_every == 0 or done == total_steps:
                save(done)

    if rank() == 0:
        facts = {
            "molecules": len(samples),
            "samples_seen": total_steps * batch_size,
            "source": corpus.manifest["source"],
            "source_sha256": corpus.manifest["source_sha256"],
            "excluded_values": int(sum(corpus.excluded(column).sum() for column in corpus.manifest["columns"])),
            "initialised_from": str(init) if init is not None else "random",
            **hardware.as_dict(),
        }
        save_pretrained(twin.cpu(), run.model, facts=facts)
    return RunResult(run.path, run.model, pd.read_csv(run.path / "metrics.csv"))


def _default_config(run: RunDirectory, init: str | Path | None, resume: bool) -> RunConfig:
    if resume and run.has_run:
        return RunConfig.from_yaml(run.path / "config.yaml")
    return from_pretrained(init).config if init is not None else RunConfig.from_preset("default")


def _as_corpus(
    molecules: Corpus | Source, config: RunConfig, exclude: Sequence[str | Path], n_jobs: int, progress: Progress | None
) -> Corpus:
    if isinstance(molecules, Corpus):
        return molecules
    if is_corpus(molecules):
        return Corpus.open(molecules)  # type: ignore[arg-type]
    return prepare(molecules, config, exclude=exclude, n_jobs=n_jobs, progress=progress)


def _fit(config: RunConfig, prepared: Mapping[str, Mapping[str, Column]], samples: Samples) -> dict[str, dict[str, Tensor]]:
    """Learn each encoder's scaling from the training samples."""
    fitted: dict[str, dict[str, Tensor]] = {}
    for view, key in encoder_keys(config).items():
        if key not in fitted:
            arrays = config.views[view].build_modality().fit(prepared[view], samples.entries[view].numpy())
            fitted[key] = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    return fitted


def _check_views(twin: TwinModel, config: RunConfig) -> None:
    """Refuse to start from a model whose encoders the configuration would not build."""
    old, new = twin.config.as_dict(), config.as_dict()
    changed = [line for part in ("encoder", "projector", "molecules") for line in differences(old[part], new[part], prefix=f"{part}.")]
    if encoder_keys(twin.config) != encoder_keys(config):
        changed.append(f"views: {encoder_keys(twin.config)} -> {encoder_keys(config)}")
    else:
        for name, view in config.views.items():
            before, after = twin.config.views[name].build_modality().preparation(), view.build_modality().preparation()
            changed += differences(before, after, prefix=f"views.{name}.")
    if changed:
        raise ConfigError(
            "the model to start from has other encoders than the configuration: " + "; ".join(changed) + ". "
            "Leave these as they are in its config.yaml"
        )


def _describe_run(corpus: Corpus, config: RunConfig, samples: Samples, hardware: Hardware, init: str | Path | None) -> dict[str, Any]:
    """What a resumed run must agree with, and what a reader wants to know."""
    return {
        "format": "molbt.run",
        "format_version": 1,
        "config": config.as_dict(),
        "config_sha256": config.sha256(),
        "corpus": corpus.manifest["identity"],
        "source": corpus.manifest["source"],
        "rows": corpus.n_rows,
        "samples": len(samples),
        "init": str(init) if init is not None else None,
        "hardware": hardware.as_dict(),
        "ranks": world_size(),
        "versions": {"molbt": __version__, "torch": torch.__version__, "rdkit": corpus.manifest["rdkit"]},
    }


def _check_resume(run: RunDirectory, record: Mapping[str, Any]) -> Hardware:
    """Return the hardware settings of the run to continue; refuse another configuration, corpus or number of ranks."""
    old = run.read_json("run.json")
    changed = differences(old.get("config", {}), record["config"])
    changed += [f"{key}: {old.get(key)} -> {record[key]}" for key in ("corpus", "ranks", "init", "samples") if old.get(key) != record[key]]
    if changed:
        raise ConfigError(
            f"{run.path} was started with other settings: " + "; ".join(changed) + ". Resume with the same ones, or start anew"
        )
    if old["hardware"]["device"].split(":")[0] != record["hardware"]["device"].split(":")[0]:
        raise ConfigError(
            f"{run.path} was started on {old['hardware']['device']}, here it would run on {record['hardware']['device']}; "
            "resume it on the same kind of device, or start anew"
        )
    return Hardware(**{**record["hardware"], "precision": old["hardware"]["precision"], "num_threads": old["hardware"]["num_threads"]})


def _permutation(n: int, seed: int, epoch: int) -> Tensor:
    """Return the order of the samples in an epoch."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(mix_words(seed, "order", epoch)))


def _average_gradients(parameters: list[nn.Parameter]) -> None:
    """Average the gradients over the ranks in one flat exchange."""
    if world_size() == 1:
        return
    gradients = [parameter.grad if parameter.grad is not None else torch.zeros_like(parameter) for parameter in parameters]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    flat /= world_size()
    for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = part.view_as(parameter)


def _each(objectives: nn.ModuleList) -> list[Objective]:
    return list(objectives)  # type: ignore[arg-type]


def _named(twin: TwinModel, objectives: nn.ModuleList, items: Callable[[nn.Module], Any]) -> list[tuple[str, Any]]:
    """Return named parameters or other items of everything that is trained, with unique names."""
    found = [(f"twin.{name}", item) for name, item in items(twin)]
    return found + [(f"objectives.{name}", item) for name, item in items(objectives)]


def _state(
    twin: TwinModel, objectives: nn.ModuleList, optimiser: torch.optim.Optimizer, names: Mapping[nn.Parameter, str]
) -> dict[str, Tensor]:
    tensors = dict(_named(twin, objectives, lambda module: module.state_dict().items()))
    for parameter, slots in optimiser.state.items():
        tensors |= {f"optimiser.{names[parameter]}.{slot}": torch.as_tensor(value) for slot, value in slots.items()}
    return tensors


def _load_state(
    tensors: Mapping[str, Tensor],
    twin: TwinModel,
    objectives: nn.ModuleList,
    optimiser: torch.optim.Optimizer,
    names: Mapping[nn.Parameter, str],
) -> None:
    for prefix, module in (("twin.", twin), ("objectives.", objectives)):
        own = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        try:
            module.load_state_dict(own)
        except RuntimeError as error:
            raise CheckpointError(
                f"the checkpoint does not fit the configuration: {error}; start the run again in a new directory"
            ) from error
    for parameter, name in names.items():
        start = f"optimiser.{name}."
        slots = {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}
        if slots:
            optimiser.state[parameter] = {
                slot: value.clone() if slot == "step" and parameter.device.type == "cpu" else value.to(parameter.device)
                for slot, value in slots.items()
            }


def _summary(row: Mapping[str, Any]) -> str:
    ranks = ", ".join(f"rank {name.split('.', 1)[1]} {value:.0f}" for name, value in row.items() if name.startswith("embedding_rank."))
    return f"loss {row['loss']:.4g}, {row['samples_per_second']:,.0f} samples/s, {ranks}"
