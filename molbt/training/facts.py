"""What a model's card and ``config.json`` tell of the training behind it, and what that training saw."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from molbt import __version__
from molbt.config import RunConfig
from molbt.data.corpus import Corpus, Samples
from molbt.data.seen_molecules import SeenMolecules, seen_in_samples
from molbt.data.seen_texts import load_seen_texts, texts_in_samples
from molbt.errors import CheckpointError
from molbt.model.checkpoint import find_model
from molbt.training.hardware import Hardware

logger = logging.getLogger(__name__)


def training_facts(
    corpus: Corpus,
    config: RunConfig,
    samples: Samples,
    hardware: Hardware,
    metrics: pd.DataFrame,
    *,
    init: str | Path | None,
    licence: str | None,
) -> dict[str, Any]:
    """Return JSON values about a finished run.

    Parameters
    ----------
    corpus, config, samples, hardware, init
        Those of the run.
    metrics : DataFrame
        One row per epoch; the last one gives rank and loss.
    licence : str, optional
        Of the molecules, as the user stated it.
    """
    try:
        last = metrics.iloc[-1]
        loss = float(last["loss"])
        counted = {name: int(last[name]) for name in ("epoch", "step", "samples_seen")}
        shares, ranks = _by_name(last, ".contribution", loss), _by_view(last, "embedding_rank.")
    except (ValueError, TypeError, LookupError, ArithmeticError) as error:
        raise CheckpointError(f"metrics.csv does not tell how the run went ({error!r}); start the run again in a new directory") from error
    return {
        **_sizes(config, samples),
        # A card travels, and a path of the machine it was made on tells others nothing.
        "source": Path(corpus.manifest["source"]).name,
        "source_sha256": corpus.manifest["source_sha256"],
        "licence_of_the_data": licence or "not stated",
        "excluded": list(corpus.manifest.get("excluded", [])),
        "excluded_values": int(sum(corpus.excluded(column).sum() for column in corpus.manifest["columns"])),
        "initialised_from": str(init) if init is not None else "random",
        "epochs": counted["epoch"],
        "steps": counted["step"],
        "samples_seen": counted["samples_seen"],
        "final_loss": loss,
        "loss_shares": shares,
        "embedding_rank": ranks,
        **hardware.as_dict(),
        "versions": {"molbt": __version__, "torch": torch.__version__, "rdkit": corpus.manifest["rdkit"]},
    }


def seen_in_training(corpus: Corpus, config: RunConfig, samples: Samples, init: str | Path | None) -> SeenMolecules | None:
    """Return all molecules that a model has seen: in this run, and in those that it started from.

    None, with a warning, where a part of that is not known: half a record would pass for a clean one.
    """
    own = seen_in_samples(corpus, config, samples)
    before = SeenMolecules.load(find_model(init)) if init is not None else None
    if own is None or (init is not None and before is None):
        where = f"the model {init}" if own is not None else f"the corpus {corpus.directory}"
        logger.warning("%s does not tell which molecules it has, so overlaps of the new model with test sets cannot be found", where)
        return None
    return own.joined(before) if before is not None else own


def texts_in_training(corpus: Corpus, config: RunConfig, samples: Samples, init: str | Path | None) -> np.ndarray | None:
    """Return the keys of all texts that a model has seen, in this run and before; None without texts, or where a part is not known."""
    own = texts_in_samples(corpus, config, samples)
    if own is None or init is None:
        return own
    before = load_seen_texts(find_model(init))
    if before is None:
        logger.warning("the model %s does not tell which texts it has seen, so the new one cannot either", init)
        return None
    return np.union1d(own, before)


def _sizes(config: RunConfig, samples: Samples) -> dict[str, int]:
    """The distinct entries of the first molecular view, and the samples where these are others: pairs of a molecule and a text."""
    molecular = [name for name, view in config.views.items() if view.build_modality().is_molecular]
    molecules = len(np.unique(samples.entries[molecular[0]].numpy())) if molecular else 0
    return {"molecules": molecules} | ({"samples": len(samples)} if molecules != len(samples) else {})


def _by_view(row: pd.Series, prefix: str) -> dict[str, float]:
    return {name.removeprefix(prefix): round(float(value), 1) for name, value in row.items() if str(name).startswith(prefix)}  # type: ignore[attr-defined]


def _by_name(row: pd.Series, suffix: str, total: float) -> dict[str, float]:
    return {name.removesuffix(suffix): round(float(value / total), 3) for name, value in row.items() if str(name).endswith(suffix)}  # type: ignore[attr-defined]
