"""LightGBM's text, changed in every way that keeps its checksum right (it is computed anew): refused, or it predicts finite numbers.

In a process of its own: LightGBM aborts on a cut file, and a node that is its own child hangs it.
"""

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import lightgbm
import numpy as np
import pytest
from directories import LONGEST, no_longer_than

from molbt.errors import CheckpointError
from molbt.predict.booster_text import read_booster

N_FEATURES = 6
MATRIX = np.random.default_rng(0).normal(size=(300, N_FEATURES))
NUMBERS = [
    "0",
    "1",
    "-1",
    "2",
    "12",
    "-15",
    "1_0",
    "+1",
    " 1",
    "01",
    "1e400",
    "1e308",
    "nan",
    "inf",
    "-inf",
    "0x10",
    "٣",
    "²",
    "2147483648",
]
NUMBERS += ["9" * 30, "1e-320", ".5", "5.", "1.5", "", "1 ", "--1", "1e", "1d3", "\x00", "99"]


def text(objective: str = "regression", n_trees: int = 4) -> str:
    labels = MATRIX[:, 0] + MATRIX[:, 1] * MATRIX[:, 2]
    labels = (labels > 0).astype(float) if objective == "binary" else labels
    settings = {"objective": objective, "num_leaves": 16, "min_data_in_leaf": 1, "verbose": -1, "num_threads": 1}
    return lightgbm.train(settings, lightgbm.Dataset(MATRIX, labels), n_trees).model_to_string().partition("\nfeature_importances:")[0]


def mutant(whole: str, draw: random.Random) -> str:
    lines = whole.split("\n")
    a, b = draw.randrange(len(lines)), draw.randrange(len(lines))
    place = draw.randrange(len(whole))
    # Most numbers stand in trees, and what they say of each other is what matters.
    numbered = [number for number, line in enumerate(lines) if re.search(r"(child|feature|type|num_leaves|leaf_value|threshold)=", line)]
    name, _, values = lines[chosen := draw.choice(numbered)].partition("=")
    words = values.split(" ")
    changed, other = list(words), draw.randrange(len(words))
    changed[draw.randrange(len(words))] = draw.choice([*NUMBERS, str(other), str(-other - 1), words[other]])
    same = [number for number in numbered if lines[number].startswith(f"{name}=")]
    exchanged = [lines[draw.choice(same)] if number == chosen else line for number, line in enumerate(lines)]
    return draw.choice(
        [
            lambda: "\n".join([*lines[:chosen], f"{name}={' '.join(changed)}", *lines[chosen + 1 :]]),
            lambda: "\n".join([*lines[:chosen], f"{name}={' '.join(draw.sample(words, len(words)))}", *lines[chosen + 1 :]]),
            lambda: "\n".join([*lines[:chosen], f"{name}={' '.join(words * 2)}", *lines[chosen + 1 :]]),
            lambda: "\n".join(exchanged),  # of another tree
            lambda: whole[:place],
            lambda: whole[:place] + chr(ord(whole[place]) ^ (1 << draw.randrange(7))) + whole[place + 1 :],
            lambda: whole[:place] + whole[place + draw.randrange(1, 60) :],
            lambda: "\n".join(lines[:a] + lines[a + 1 :]),
            lambda: "\n".join([*lines[:a], lines[a], *lines[a:]]),
            lambda: "\n".join([lines[b] if number == a else lines[a] if number == b else line for number, line in enumerate(lines)]),
        ]
    )()


def try_mutants(rounds: int, progress: Path) -> int:
    """Read and use them; returns how many were refused."""
    n_refused = 0
    for objective in ("regression", "binary"):
        whole, draw = text(objective), random.Random(objective)
        assert np.isfinite(read_booster(whole, n_features=N_FEATURES).predict(MATRIX)).all()
        for number in range(rounds // 2):
            changed = mutant(whole, draw)
            progress.write_text(changed)
            with no_longer_than(LONGEST):
                try:
                    booster = read_booster(changed, n_features=N_FEATURES)
                except CheckpointError:
                    n_refused += 1
                    continue
                for how in ({}, {"pred_contrib": True}, {"pred_leaf": True}):
                    if not np.isfinite(booster.predict(MATRIX, num_threads=1, **how)).all():
                        raise RuntimeError(f"{objective}, mutant {number}: predictions that are not finite ({how})")
    return n_refused


def check(rounds: int, tmp_path: Path) -> None:
    # LightGBM does not let a signal in while it hangs: the time limit of the process does.
    environment = os.environ | {"PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parents[1]}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, str(rounds), str(tmp_path / "mutant")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120 + rounds)
    assert done.returncode == 0, f"the process ended with {done.returncode}, see {tmp_path / 'mutant'}: {done.stderr[-2_000:]}"
    assert rounds / 2 < int(done.stdout.splitlines()[-1]) < rounds  # some changes are harmless


def test_a_changed_booster_is_refused_or_predicts(tmp_path: Path) -> None:
    check(50, tmp_path)


@pytest.mark.slow
def test_no_changed_booster_brings_down_the_process(tmp_path: Path) -> None:
    check(1_000, tmp_path)


@pytest.mark.parametrize("number", ["1_0", "+10", "010 ", "1０", "1e1", "10.0", "4294967306"])
def test_a_child_is_spelled_as_lightgbm_reads_it(number: str) -> None:
    """Python reads the first four as 10 and LightGBM as something else, often a parent: the tree would be a circle."""
    whole = text()
    changed = re.sub(r"(_child=(?:-?\d+ )*)10\b", rf"\g<1>{number}", whole, count=1)
    assert changed != whole
    with pytest.raises(CheckpointError, match="whole numbers should be"):
        read_booster(changed, n_features=N_FEATURES)


def test_leaves_that_add_up_to_infinity_are_refused() -> None:
    changed = re.sub(r"leaf_value=\S+", "leaf_value=1e308", text())
    with pytest.raises(CheckpointError, match="leaf values add up"):
        read_booster(changed, n_features=N_FEATURES)


def chain(depth: int) -> str:
    """A tree that is one long branch."""

    def row(numbers: range | list[int]) -> str:
        return " ".join(map(str, numbers))

    head = re.sub(r"tree_sizes=.*", "tree_sizes=1", text(n_trees=1).partition("\n\nTree=0")[0])
    ones = row([1] * depth)
    lines = {
        "Tree": "0", "num_leaves": str(depth + 1), "num_cat": "0", "split_feature": row([0] * depth), "split_gain": ones,
        "threshold": ones, "decision_type": row([2] * depth), "left_child": row([*range(1, depth), -depth - 1]),
        "right_child": row(range(-1, -depth - 1, -1)), "leaf_value": f"{ones} 1", "leaf_weight": f"{ones} 1",
        "leaf_count": f"{ones} 1", "internal_value": ones, "internal_weight": ones, "internal_count": ones, "is_linear": "0",
        "shrinkage": "1",
    }  # fmt: skip
    return head + "\n\n" + "".join(f"{name}={value}\n" for name, value in lines.items()) + "\n\nend of trees\n\n"


def test_a_tree_too_deep_to_explain_is_refused() -> None:
    """LightGBM aborts when it explains a chain of 131,000 splits."""
    assert np.isfinite(read_booster(chain(1_000), n_features=N_FEATURES).predict(MATRIX[:2], pred_contrib=True)).all()
    with pytest.raises(CheckpointError, match="is 1,001 splits deep"):
        read_booster(chain(1_001), n_features=N_FEATURES)


if __name__ == "__main__":
    sys.stdout.write(f"{try_mutants(int(sys.argv[1]), Path(sys.argv[2]))}\n")
