"""What holds for every objective, whatever its formula: ranks, resuming, odd batches, half precision, one line of configuration."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from objective_checks import SmallTwin, built, distance, global_batch, scored, train_on_ranks
from small_run import DESCRIPTORS, FINGERPRINTS, assert_same_tensors, last_checkpoint, small_config, stop_after

from molbt import registry
from molbt.data.corpus import Corpus
from molbt.errors import Interrupted
from molbt.training.trainer import pretrain

ON_THEIR_OWN = {"regression"} | {name for name in registry.available("objectives") if registry.find("objectives", name).requires_labels}
"""Objectives that read labels or inputs beside a pair of projections: their own tests hold all of this."""

SETTINGS: dict[str, dict[str, Any]] = {
    "barlow_twins": {"redundancy_weight": 8.0},
    "vicreg": {},
    "hsic": {},
    "mixed_barlow_twins": {"redundancy_weight": 8.0, "ramp": 0.5},
    "simclr": {"temperature": 0.2},
    "tico": {},
    "byol": {"hidden": 24},
    "simsiam": {},
    "simtriplet": {},
    "moco": {"queue_size": 100},
    "nnclr": {"queue_size": 100, "hidden": 24},
    "twist": {},
    "twist/grouped": {"teacher_momentum": 0.9, "group_size": 7},
    "twist/labels": {"self_labelling": 1.0},
    "amcl": {"hidden": 16, "width": 8, "heads": 2},
    "amcl/moco": {"host": "moco", "hidden": 16, "width": 8, "heads": 2, "queue_size": 100},
    "amcl/simsiam": {"host": "simsiam", "hidden": 16, "width": 8, "heads": 2},
    "amcl/barlow_twins": {"host": "barlow_twins", "hidden": 16, "width": 8, "heads": 2, "redundancy_weight": 8.0},
    "all4one": {"queue_size": 100, "hidden": 24, "layers": 1, "dropout": 0.0},
}
"""Settings of each objective for networks as small as these; what follows a slash tells two of one objective apart."""

SHARED = {"a": "a", "b": "a"}
TWO = {"a": "a", "b": "b"}


def pairs_of(name: str) -> list[tuple[str, str]]:
    """SimTriplet scores two pairs; the others one."""
    return [("a", "b"), ("a", "c")] if name == "simtriplet" else [("a", "b")]


def keys_of(name: str, keys: dict[str, str]) -> dict[str, str]:
    return {**keys, "c": keys["b"]} if name == "simtriplet" else keys


def make(name: str, **changes: Any):
    return registry.find("objectives", name.split("/")[0])(**{**SETTINGS[name], **changes})


def test_every_objective_is_here():
    assert {name.split("/")[0] for name in SETTINGS} | ON_THEIR_OWN == set(registry.available("objectives"))


# Ranks


def train_on_rank(rank: int, world_size: int, *, name: str, keys: dict[str, str], **options: Any) -> dict[str, Any]:
    # Repeated molecules, so that what is masked is masked over ranks too.
    return train_on_ranks(
        rank,
        world_size,
        lambda: make(name),
        keys=keys_of(name, keys),
        pairs=pairs_of(name),
        n_rows=26,
        projection_dim=8,
        steps=4,
        entities=lambda rows: rows % 20,
        **options,
    )


@pytest.mark.parametrize("name", sorted(SETTINGS))
@pytest.mark.parametrize("keys", [SHARED, TWO], ids=["shared", "two"])
@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_equal_one_process(on_ranks, world_size, keys, name):
    alone = train_on_rank(0, 1, name=name, keys=keys)
    for found in on_ranks(train_on_rank, world_size, name=name, keys=keys):
        assert found["losses"] == pytest.approx(alone["losses"], rel=1e-10)
        assert distance(found["gradient"], alone["gradient"]) < 1e-10
        assert distance(found["state"], alone["state"]) < 1e-10
        for terms, alone_terms in zip(found["terms"], alone["terms"], strict=True):
            assert terms == pytest.approx(alone_terms, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_the_comparison_of_ranks_notices_local_statistics(on_ranks, name):
    # Networks whose norms see their own rank alone: every objective then trains something else.
    alone = train_on_rank(0, 1, name=name, keys=SHARED)
    found, _ = on_ranks(train_on_rank, 2, name=name, keys=SHARED, is_norm_global=False)
    assert distance(found["state"], alone["state"]) > 1e-5


# Odd batches


@pytest.mark.parametrize("keys", [SHARED, TWO], ids=["shared", "two"])
@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_objective_is_finite_on_odd_batches(name, keys):
    torch.manual_seed(0)
    twin = SmallTwin(keys_of(name, keys), projection_dim=8)
    objective = built(make(name), twin, pairs_of(name), dtype=torch.float32)
    whole = global_batch(list(twin.keys), 16, dtype=torch.float32)
    batches = [
        whole,
        {view: torch.zeros(8, 7) for view in whole},  # everything has collapsed
        {view: values[:2] for view, values in whole.items()},
        {view: values[:5] for view, values in whole.items()},  # a short last batch
        {view: values[:1].expand(4, 7).clone() for view, values in whole.items()},  # one molecule, four times
    ]
    for step, matrices in enumerate(batches):
        twin.zero_grad()
        objective.zero_grad()
        output = scored(objective, twin, matrices, pairs_of(name), step=step)
        output.loss.backward()
        gradients = [p.grad for part in (twin, objective) for p in part.parameters() if p.grad is not None]
        assert gradients
        assert output.loss.isfinite(), f"batch {step}"
        assert all(term.isfinite().all() for term in output.terms.values()), f"batch {step}: {output.terms}"
        assert all(gradient.isfinite().all() for gradient in gradients), f"batch {step}"
        assert not any(term.requires_grad for term in output.terms.values())
        objective.after_step(twin, 0.1 * step)
        assert all(value.isfinite().all() for value in objective.state_dict().values() if value.is_floating_point())


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_objective_is_in_float32_under_autocast(name):
    torch.manual_seed(0)
    twin = SmallTwin(keys_of(name, SHARED), projection_dim=8)
    objective = built(make(name), twin, pairs_of(name), dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = scored(objective, twin, global_batch(list(twin.keys), 16, dtype=torch.float32), pairs_of(name))
    output.loss.backward()
    assert output.loss.dtype == torch.float32
    assert output.loss.isfinite()


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_terms_have_the_same_names_at_every_step_and_pairs_are_summed_or_averaged(name):
    torch.manual_seed(0)
    keys = {"a": "a", "b": "a", "c": "a"}
    pairs = [("a", "b"), ("a", "c")]
    losses, names = {}, set()
    for average_pairs in (False, True):
        torch.manual_seed(0)
        twin = SmallTwin(keys, projection_dim=8)
        objective = built(make(name), twin, pairs)
        for step in range(2):
            output = scored(objective, twin, global_batch(list(keys), 12, step=step), pairs, step=step, average_pairs=average_pairs)
            names.add(tuple(output.terms))
            objective.after_step(twin, 0.0)
        losses[average_pairs] = output.loss.item()
    assert len(names) == 1
    assert losses[True] == pytest.approx(losses[False] / 2, rel=1e-12)


# Through the trainer, on real molecules


def config_of(name: str, **changes: Any):
    views = {**FINGERPRINTS, "c": {"like": "a", "drop": 0.3}}
    return small_config(
        **{"objectives": [{"name": name.split("/")[0], **SETTINGS[name]}], "views": views, "pairs": pairs_of(name), **changes}
    )


@pytest.fixture(scope="module")
def whole_runs(objective_corpus: Corpus, tmp_path_factory: pytest.TempPathFactory):
    """A run of three epochs of each objective, made when first asked for."""
    made: dict[str, Path] = {}

    def run(name: str) -> Path:
        if name not in made:
            made[name] = pretrain(objective_corpus, tmp_path_factory.mktemp("whole") / "run", config=config_of(name)).directory
        return made[name]

    return run


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_run_stopped_in_the_middle_resumes_bit_identically(objective_corpus, whole_runs, tmp_path, name):
    whole = whole_runs(name)
    with pytest.raises(Interrupted):
        pretrain(objective_corpus, tmp_path / "stopped", config=config_of(name), progress=stop_after(6))
    pretrain(objective_corpus, tmp_path / "stopped", config=config_of(name), resume=True)
    assert_same_tensors(last_checkpoint(tmp_path / "stopped"), last_checkpoint(whole))


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_everything_that_an_objective_trains_moves(whole_runs, name):
    moments = {key: value for key, value in last_checkpoint(whole_runs(name)).items() if key.endswith(".exp_avg_sq")}
    assert all(value.any() for value in moments.values()), [key for key, value in moments.items() if not value.any()]


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_objective_trains_two_encoders(objective_corpus, tmp_path, name):
    views = {"a": FINGERPRINTS["a"], "b": DESCRIPTORS, "c": {"like": "b", "mask": 0.3}}
    config = config_of(name, views=views, trainer={"max_steps": 6})
    metrics = pretrain(objective_corpus, tmp_path / "run", config=config).metrics
    assert np.isfinite(metrics.select_dtypes("number")).all().all()
    moments = {key: value for key, value in last_checkpoint(tmp_path / "run").items() if key.endswith(".exp_avg_sq")}
    assert all(value.any() for key, value in moments.items() if key.startswith("optimiser.twin.encoders.")), moments.keys()
