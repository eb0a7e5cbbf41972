"""What a person should know of labels before they are learned: which word is class 1, and where another reading was probably meant."""

import numpy as np

from molbt.predict.label_policy import LabelPolicy
from molbt.predict.labels import Labels
from molbt.predict.units import P_SCALES, known_unit

# So few different numbers are rather names of classes than measurements.
_FEW_NUMBERS = 3
# A concentration that spans more is learned by its largest values alone.
_FEW_ORDERS = 2.0


def label_hints(labels: Labels, policy: LabelPolicy) -> list[str]:
    """Return hints about the labels of one target that a policy made, each a line without the target's name."""
    known = labels.values[np.isfinite(labels.values)]
    hints = [_words(labels), _few_numbers(known, policy), _orders_of_magnitude(known, labels, policy)]
    return [hint for hint in hints if hint]


def _words(labels: Labels) -> str:
    return ", ".join(f"class {number} is {labels.words[number]}" for number in (1, 0) if number in labels.words)


def _few_numbers(known: np.ndarray, policy: LabelPolicy) -> str:
    numbers = np.unique(known)
    is_guessed = policy.task_type == "auto" and not policy.has_threshold and not np.isin(numbers, (0.0, 1.0)).all()
    if not (is_guessed and 1 < len(numbers) <= _FEW_NUMBERS < len(known)):
        return ""
    listed = ", ".join(f"{number:g}" for number in numbers)
    return (
        f"only {len(numbers)} different numbers ({listed}), which are learned as measured values; if they stand for classes, pass a "
        f"threshold such as --active-above {numbers[-1]:g}"
    )


def _orders_of_magnitude(known: np.ndarray, labels: Labels, policy: LabelPolicy) -> str:
    unit = known_unit(policy.unit or "")
    if not unit or labels.task_type != "regression" or policy.scale != "none":
        return ""
    positive = known[known > 0]
    orders = float(np.log10(positive.max() / positive.min())) if len(positive) else 0.0
    if not orders > _FEW_ORDERS:
        return ""
    scale = next((scale for scale in P_SCALES if scale[1:].casefold() in labels.name.casefold()), "pXC50")
    return (
        f"the values span {orders:.1f} orders of magnitude, from {positive.min():.3g} to {positive.max():.3g} {unit}, and are learned as "
        f"they are: --to {scale} learns their −log10 in mol/L"
    )
