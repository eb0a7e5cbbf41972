"""ToxCast's held-out assays on held-out scaffolds."""

from pathlib import Path

import pytest

from molbt.errors import ConfigError
from molbt.evaluation.benchmarks.toxcast import ToxCast


def test_tasks_are_held_out_assays_with_enough_of_both_classes(real_data: Path):
    benchmark = ToxCast(real_data)
    tasks = {task.name: task for task in benchmark.tasks()}
    assert tuple(tasks) == benchmark.assays
    assert all(min(task.y.sum(), len(task.y) - task.y.sum()) >= 10 for task in tasks.values())
    training = benchmark.training_rows()
    assert not set(training["task"]) & set(tasks)
    assert not set(training["smiles"]) & {smiles for task in tasks.values() for smiles in task.smiles}
    assert training["text"].notna().all()
    assert ToxCast(real_data, limit=3).assays == benchmark.assays[:3]


def test_readouts_of_a_component_are_one_unit(real_data: Path):
    benchmark = ToxCast(real_data, limit=1)
    names = {"ATG_Oct_MLP_CIS_dn": "ATG_Oct_MLP_CIS", "TOX21_HSE_BLA_agonist_ch1": "TOX21_HSE_BLA_agonist", "NVS_TR_hNET": "NVS_TR_hNET"}
    assert {name: benchmark.component(name) for name in names} == names


def test_a_limit_below_one_is_refused(real_data: Path):
    with pytest.raises(ConfigError, match="limit"):
        ToxCast(real_data, limit=0)
