"""Reading LightGBM's text format with suspicion: LightGBM itself crashes on a cut file, and a node that is its own child hangs it.

The text is taken apart, every number is checked, and what is given to LightGBM is written anew from what was understood. Only numbers in
the spelling that both sides read alike are taken: Python reads ``1_0`` as ten, LightGBM as one, and a tree that is sound in one reading is
a circle in the other.
"""

import math
import re
from collections.abc import Sequence

import lightgbm
import numpy as np

from molbt.errors import CheckpointError

_OBJECTIVES = ("regression", "binary sigmoid:1")
_HEADER = (
    "version", "num_class", "num_tree_per_iteration", "label_index", "max_feature_idx", "objective", "feature_names", "feature_infos",
    "tree_sizes",
)  # fmt: skip
_TREE = (
    "num_leaves", "num_cat", "split_feature", "split_gain", "threshold", "decision_type", "left_child", "right_child", "leaf_value",
    "leaf_weight", "leaf_count", "internal_value", "internal_weight", "internal_count", "is_linear", "shrinkage",
)  # fmt: skip
MAX_CHARACTERS = 1 << 28
"""A longer text is not read: a hundred times what 1,000 trees of 256 leaves take."""

_LARGEST_TREE = 1 << 17
# LightGBM explains a prediction by recursion, with memory that grows as the square of the depth: it aborts on a chain of 131,000 splits.
_DEEPEST_TREE = 1_000
# Leaf values add up over the trees; the sum has to stay a number that float32 holds.
_LARGEST_SUM = 1e38
# Bit 0 is a categorical split, which the features here never have; bit 1 the side of missing values; bits 2 and 3 their kind (0 to 2).
_DECISIONS = (0, 2, 4, 6, 8, 10)
_RANGE = re.compile(r"\[([^:\[\]]+):([^:\[\]]+)\]")
_WHOLE = re.compile(r"-?[0-9]{1,10}")
_DECIMAL = re.compile(r"-?[0-9]{1,25}(\.[0-9]{0,25})?(e[-+]?[0-9]{1,3})?")
_LARGEST_WHOLE = (1 << 31) - 1
_TAIL = "end of trees\n\nfeature_importances:\n\nparameters:\n\nend of parameters\n\npandas_categorical:null\n"


def read_booster(text: str, *, n_features: int) -> lightgbm.Booster:
    """Return the booster that a text from ``Booster.model_to_string`` describes.

    Only what molbt writes is read: one class, numerical splits, constant leaves. Importances and training parameters are dropped.

    Raises
    ------
    CheckpointError
        If it is too long, or anything in it is not as LightGBM would have written it: a number that is not finite, a feature out of
        range, children that form no tree.
    """
    try:
        return lightgbm.Booster(model_str=_rewritten(text, n_features))
    except (_FormatError, lightgbm.basic.LightGBMError) as error:
        raise CheckpointError(f"the LightGBM model is not whole: {error}; copy the predictor again or fit it anew") from error


class _FormatError(ValueError):
    """A text that LightGBM would not have written."""


def _rewritten(text: str, n_features: int) -> str:
    if len(text) > MAX_CHARACTERS:
        raise _FormatError(f"it has {len(text):,} characters, at most {MAX_CHARACTERS:,} are read")
    blocks = [block for block in text.partition("\nend of trees\n")[0].split("\n\n") if block.strip()]
    if "\nend of trees\n" not in text or not blocks or not blocks[0].startswith("tree\n"):
        raise _FormatError("it has no beginning or no end")
    header = _fields(blocks[0].removeprefix("tree\n"), _HEADER, "the header")
    for name, expected in {
        "num_class": "1",
        "num_tree_per_iteration": "1",
        "label_index": "0",
        "max_feature_idx": f"{n_features - 1}",
    }.items():
        if header[name] != expected:
            raise _FormatError(f"expected {name}={expected}, found {header[name][:40]!r}")
    if header["objective"] not in _OBJECTIVES or not re.fullmatch(r"v[0-9]{1,2}", header["version"]):
        raise _FormatError(f"unknown objective {header['objective'][:40]!r} or version {header['version'][:40]!r}")
    header["feature_names"] = " ".join(f"Column_{place}" for place in range(n_features))
    header["feature_infos"] = _rewritten_ranges(header["feature_infos"].split(" "), n_features)
    if len(header["tree_sizes"].split()) != len(blocks) - 1:
        raise _FormatError(f"expected {len(header['tree_sizes'].split())} trees, found {len(blocks) - 1}")
    trees, largest = [], 0.0
    for number, block in enumerate(blocks[1:]):
        tree, leaf = _rewritten_tree(block, number, n_features)
        trees.append(tree)
        largest += leaf
    if largest > _LARGEST_SUM:
        raise _FormatError(f"its leaf values add up to {largest:g}")
    header["tree_sizes"] = " ".join(str(len(tree)) for tree in trees)
    return "tree\n" + "".join(f"{name}={header[name]}\n" for name in _HEADER) + "\n" + "".join(trees) + _TAIL


def _rewritten_tree(block: str, number: int, n_features: int) -> tuple[str, float]:
    """Return a tree written anew, and the largest magnitude of its leaf values."""
    where = f"tree {number}"
    first, _, rest = block.strip("\n").partition("\n")
    if first != f"Tree={number}":
        raise _FormatError(f"expected {where}, found {first[:40]!r}")
    fields = _fields(rest, _TREE, where)
    n_leaves = int(_wholes(fields["num_leaves"], 1, where)[0])
    if not 1 <= n_leaves <= _LARGEST_TREE or fields["num_cat"] != "0" or fields["is_linear"] != "0":
        raise _FormatError(f"{where} has {n_leaves} leaves, categorical splits or linear leaves")
    n_splits = n_leaves - 1
    n_counted = {name: n_leaves if fields[name] else 0 for name in ("leaf_weight", "leaf_count")}  # a tree without a split may lack them
    wholes = {
        name: _wholes(fields[name], length, where)
        for name, length in {
            **dict.fromkeys(("split_feature", "decision_type", "left_child", "right_child", "internal_count"), n_splits),
            **{"num_leaves": 1, "num_cat": 1, "is_linear": 1, "leaf_count": n_counted["leaf_count"]},
        }.items()
    }
    decimals = {
        name: _decimals(fields[name], length, where)
        for name, length in {
            **dict.fromkeys(("split_gain", "threshold", "internal_value", "internal_weight"), n_splits),
            **{"leaf_value": n_leaves, "leaf_weight": n_counted["leaf_weight"], "shrinkage": 1},
        }.items()
    }
    if ((wholes["split_feature"] < 0) | (wholes["split_feature"] >= n_features)).any():
        raise _FormatError(f"{where} splits a feature beyond the {n_features} there are")
    if not np.isin(wholes["decision_type"], _DECISIONS).all():
        raise _FormatError(f"{where} has a split of an unknown kind")
    _check_children(wholes["left_child"], wholes["right_child"], where)
    numbers = wholes | decimals
    text = f"Tree={number}\n" + "".join(f"{name}={' '.join(map(repr, numbers[name].tolist()))}\n" for name in _TREE) + "\n\n"
    return text, float(np.abs(decimals["leaf_value"]).max())


def _fields(text: str, names: Sequence[str], where: str) -> dict[str, str]:
    """Return the ``name=value`` lines of a block, which must be these, in this order."""
    lines = [line.partition("=") for line in text.split("\n")]
    if tuple(name for name, _, _ in lines) != tuple(names):
        raise _FormatError(f"{where} has other lines than {', '.join(names)}")
    return {name: value for name, _, value in lines}


def _wholes(text: str, length: int, where: str) -> np.ndarray:
    """Return so many whole numbers that fit 32 bits."""
    words = text.split(" ") if text else []
    odd = next((word for word in words if not _WHOLE.fullmatch(word) or abs(int(word)) > _LARGEST_WHOLE), None)
    if odd is not None or len(words) != length:
        raise _FormatError(f"{where} holds {_what(odd, words)} where {length} whole numbers should be")
    return np.array(words, dtype=np.int64)


def _decimals(text: str, length: int, where: str) -> np.ndarray:
    """Return so many finite numbers."""
    words = text.split(" ") if text else []
    odd = next((word for word in words if not _DECIMAL.fullmatch(word) or not math.isfinite(float(word))), None)
    if odd is not None or len(words) != length:
        raise _FormatError(f"{where} holds {_what(odd, words)} where {length} finite numbers should be")
    return np.array(words, dtype=np.float64)


def _what(odd: str | None, words: Sequence[str]) -> str:
    return f"{len(words)} of them" if odd is None else repr(odd[:40])


def _check_children(left: np.ndarray, right: np.ndarray, where: str) -> None:
    """Each split but the first, and each leaf (−1, −2, …), is the child of one split with a lower number: then they form a tree."""
    children = np.concatenate([left, right])
    if not np.array_equal(np.sort(children), np.setdiff1d(np.arange(-len(left) - 1, len(left)), [0])) and len(left):
        raise _FormatError(f"the children in {where} do not form a tree")
    parents = np.arange(len(left))
    if ((left >= 0) & (left <= parents)).any() or ((right >= 0) & (right <= parents)).any():
        raise _FormatError(f"the children in {where} form a circle")
    depth = [1] * len(left)
    for node, pair in enumerate(zip(left.tolist(), right.tolist(), strict=True)):
        for child in pair:
            if child > 0:
                depth[child] = depth[node] + 1
    if max(depth, default=0) > _DEEPEST_TREE:
        raise _FormatError(f"{where} is {max(depth):,} splits deep, at most {_DEEPEST_TREE:,} are read")


def _rewritten_ranges(infos: Sequence[str], n_features: int) -> str:
    if len(infos) != n_features:
        raise _FormatError(f"expected the ranges of {n_features} features, found {len(infos)}")
    ranges = []
    for info in infos:
        if info == "none":
            ranges.append(info)
            continue
        found = _RANGE.fullmatch(info)
        low, high = _decimals(" ".join(found.groups()) if found else "", 2, f"the range {info[:40]!r}").tolist()
        ranges.append(f"[{low!r}:{high!r}]")
    return " ".join(ranges)
