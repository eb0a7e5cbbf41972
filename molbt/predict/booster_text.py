"""Reading LightGBM's text format with suspicion: LightGBM itself crashes on a cut file, and a node that is its own child hangs it.

The text is taken apart, every number is checked, and what is given to LightGBM is written anew from what was understood.
"""

import re
from collections.abc import Callable, Sequence

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
_LARGEST_TREE = 1 << 17
# Bit 0 is a categorical split, which the features here never have; bit 1 the side of missing values; bits 2 and 3 their kind (0 to 2).
_DECISIONS = (0, 2, 4, 6, 8, 10)
_RANGE = re.compile(r"\[([^:\[\]]+):([^:\[\]]+)\]")
_TAIL = "end of trees\n\nfeature_importances:\n\nparameters:\n\nend of parameters\n\npandas_categorical:null\n"


def read_booster(text: str, *, n_features: int) -> lightgbm.Booster:
    """Return the booster that a text from ``Booster.model_to_string`` describes.

    Only what molbt writes is read: one class, numerical splits, constant leaves. Importances and training parameters are dropped.

    Raises
    ------
    CheckpointError
        If anything in it is not as LightGBM would have written it: a number that is not finite, a feature out of range, children that
        form no tree.
    """
    try:
        return lightgbm.Booster(model_str=_rewritten(text, n_features))
    except (_FormatError, lightgbm.basic.LightGBMError) as error:
        raise CheckpointError(f"the LightGBM model is not whole: {error}; copy the predictor again or fit it anew") from error


class _FormatError(ValueError):
    """A text that LightGBM would not have written."""


def _rewritten(text: str, n_features: int) -> str:
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
    if header["objective"] not in _OBJECTIVES or not re.fullmatch(r"v\d{1,2}", header["version"]):
        raise _FormatError(f"unknown objective {header['objective'][:40]!r} or version {header['version'][:40]!r}")
    header["feature_names"] = " ".join(f"Column_{place}" for place in range(n_features))
    _check_ranges(header["feature_infos"].split(" "), n_features)
    if len(header["tree_sizes"].split()) != len(blocks) - 1:
        raise _FormatError(f"expected {len(header['tree_sizes'].split())} trees, found {len(blocks) - 1}")
    trees = [_rewritten_tree(block, number, n_features) for number, block in enumerate(blocks[1:])]
    header["tree_sizes"] = " ".join(str(len(tree)) for tree in trees)
    return "tree\n" + "".join(f"{name}={header[name]}\n" for name in _HEADER) + "\n" + "".join(trees) + _TAIL


def _rewritten_tree(block: str, number: int, n_features: int) -> str:
    where = f"tree {number}"
    first, _, rest = block.strip("\n").partition("\n")
    if first != f"Tree={number}":
        raise _FormatError(f"expected {where}, found {first[:40]!r}")
    fields = _fields(rest, _TREE, where)
    n_leaves = int(_numbers(fields["num_leaves"], int, 1, where)[0])
    if not 1 <= n_leaves <= _LARGEST_TREE or fields["num_cat"] != "0" or fields["is_linear"] != "0":
        raise _FormatError(f"{where} has {n_leaves} leaves, categorical splits or linear leaves")
    n_splits = n_leaves - 1
    features = _numbers(fields["split_feature"], int, n_splits, where)
    if ((features < 0) | (features >= n_features)).any():
        raise _FormatError(f"{where} splits a feature beyond the {n_features} there are")
    if not np.isin(_numbers(fields["decision_type"], int, n_splits, where), _DECISIONS).all():
        raise _FormatError(f"{where} has a split of an unknown kind")
    left, right = (_numbers(fields[f"{side}_child"], int, n_splits, where) for side in ("left", "right"))
    _check_children(left, right, where)
    _numbers(fields["leaf_value"], float, n_leaves, where)
    _numbers(fields["shrinkage"], float, 1, where)
    for name in ("split_gain", "threshold", "internal_value", "internal_weight", "internal_count"):
        _numbers(fields[name], float, n_splits, where)
    for name in ("leaf_weight", "leaf_count"):
        _numbers(fields[name], float, n_leaves if fields[name] else 0, where)
    return f"Tree={number}\n" + "".join(f"{name}={fields[name]}\n" for name in _TREE) + "\n\n"


def _fields(text: str, names: Sequence[str], where: str) -> dict[str, str]:
    """Return the ``name=value`` lines of a block, which must be these, in this order."""
    lines = [line.partition("=") for line in text.split("\n")]
    if tuple(name for name, _, _ in lines) != tuple(names):
        raise _FormatError(f"{where} has other lines than {', '.join(names)}")
    return {name: value for name, _, value in lines}


def _numbers(text: str, kind: Callable[[str], float], length: int, where: str) -> np.ndarray:
    try:
        numbers = np.array([kind(word) for word in text.split(" ") if word], dtype=np.float64)
    except (ValueError, OverflowError) as error:
        raise _FormatError(f"{where} holds {text[:40]!r} where numbers should be") from error
    if len(numbers) != length or not np.isfinite(numbers).all():
        raise _FormatError(f"{where} holds {len(numbers)} numbers where {length} finite ones should be")
    return numbers


def _check_children(left: np.ndarray, right: np.ndarray, where: str) -> None:
    """Each split but the first, and each leaf (−1, −2, …), is the child of one split with a lower number: then they form a tree."""
    children = np.concatenate([left, right])
    if not np.array_equal(np.sort(children), np.setdiff1d(np.arange(-len(left) - 1, len(left)), [0])) and len(left):
        raise _FormatError(f"the children in {where} do not form a tree")
    parents = np.arange(len(left))
    if ((left >= 0) & (left <= parents)).any() or ((right >= 0) & (right <= parents)).any():
        raise _FormatError(f"the children in {where} form a circle")


def _check_ranges(infos: Sequence[str], n_features: int) -> None:
    if len(infos) != n_features:
        raise _FormatError(f"expected the ranges of {n_features} features, found {len(infos)}")
    for info in infos:
        if info != "none":
            found = _RANGE.fullmatch(info)
            _numbers(f"{found.group(1)} {found.group(2)}" if found else "", float, 2, f"the range {info[:40]!r}")
