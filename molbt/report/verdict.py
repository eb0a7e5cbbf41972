"""What the encoder adds, in plain words, computed from the paired differences."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from molbt.evaluation.split_differences import split_differences
from molbt.evaluation.statistics import FEWEST_UNITS
from molbt.report.comparison import PUBLISHED, Comparison, PairedDifference, Row, feature_parts
from molbt.report.wording import cell_name, interval, metric_name, number


@dataclass(frozen=True)
class Verdict:
    """A headline, and the sentence with the numbers behind it."""

    headline: str
    detail: str


@dataclass(frozen=True)
class Contrast:
    """The encoder beside one thing that it replaces or joins, the head being the same."""

    question: str
    first: str
    second: str
    difference: PairedDifference


def verdict(comparison: Comparison, label_unit: str = "") -> Verdict:
    """Return what the encoder adds to the control.

    A difference is claimed only when its 95 % interval over ``FEWEST_UNITS`` tasks or more excludes zero; otherwise the headline says "no
    difference shown". With fewer tasks, or without a row that uses the encoder, it says that instead.
    """
    encoder_rows = comparison.with_role("encoder")
    control = comparison.control
    if not encoder_rows:
        return _verdict_without_encoder(comparison)
    row = encoder_rows[0]
    decimals = comparison.decimals
    difference = number(row.difference, decimals, sign=True)
    many = len(encoder_rows)
    which = f"the best here of the {many} combinations with the encoder" if many > 1 else "the one combination with the encoder"
    means = (
        f"{row.name}, {which}, has a mean {metric_name(comparison.metric, label_unit)} of {number(row.mean, decimals)} "
        f"({'higher' if comparison.larger_is_better else 'lower'} is better); "
        f"the control {control.name} has {number(control.mean, decimals)}"
    )
    if row.n_paired < FEWEST_UNITS:
        return Verdict(_headline_of_few(comparison, row), f"{means}; the mean difference is {difference}.{_over_splits(comparison, row)}")
    bounds = interval(row.ci_low, row.ci_high, decimals)
    counts = f"it is better on {row.wins} and worse on {row.losses} of {row.n_paired} {comparison.unit}"
    headline = _headline(comparison.benchmark, row.claim, control.name)
    detail = f"{means}. The mean paired difference is {difference} (95 % interval {bounds}); {counts}."
    stronger = _stronger_control(comparison)
    if stronger is None:
        return Verdict(headline, detail)
    beside = comparison.between(row.cell, stronger.cell)
    bounds = interval(beside.ci_low, beside.ci_high, decimals)
    if row.claim == "better" and beside.claim != "better":
        headline += f" It is not shown to be better than another control, {stronger.name}."
    return Verdict(
        headline,
        f"{detail} Of the other controls {stronger.name} does best, and better than this one: beside it the difference is "
        f"{number(beside.mean, decimals, sign=True)} (95 % interval {bounds}; {beside.claim}).",
    )


def protocol_sentence(comparison: Comparison) -> str:
    """Return the tasks, the split, the repeats, and what the interval is over."""
    is_published = comparison.results["features"].astype(str).str.endswith(PUBLISHED)
    own, published = comparison.results[~is_published], comparison.results[is_published]
    tasks = own["task"].nunique()
    repeats = own.groupby("task")["repeat"].nunique()
    each = f"{repeats.min()}" if repeats.min() == repeats.max() else f"{repeats.min()} to {repeats.max()}"
    splits = ", ".join(sorted(map(str, own["split"].unique())))
    many = f"{tasks} task{'s' if tasks > 1 else ''}"
    text = f"Protocol: {many} of {comparison.benchmark}, split: {splits}, {each} repeat{'s' if each != '1' else ''} per task. "
    if comparison.control.n_tasks > 1:
        text += (
            f"{'' if each == '1' else 'Repeats are averaged first. '}Means, standard errors and paired 95 % t-intervals are over "
            f"{comparison.unit}, not over seeds, and are not corrected for the number of comparisons."
        )
        if comparison.control.n_tasks < FEWEST_UNITS:
            text += f" Over fewer than {FEWEST_UNITS} {comparison.unit} an interval rests on an assumption more than on data: no claims."
    else:
        text += "With one task there is no interval over tasks: repeats share their molecules and say nothing about another task."
    other = sorted(set(published["split"].astype(str)) - set(own["split"].astype(str)) - {""})
    return text + (f" Published values were measured on another split: {', '.join(other)}." if other else "")


def contrasts(comparison: Comparison) -> list[Contrast]:
    """Return the encoder beside its untrained self, PCA of the same inputs, and the features without it, where these were run."""
    cells = {row.cell for row in comparison.rows}
    found = []
    for row in sorted(comparison.with_role("encoder"), key=lambda row: row.cell):
        for question, features in _counterparts(row.features, comparison.encoders):
            other = features, row.head
            if other in cells:
                found.append(Contrast(question, row.name, cell_name(*other), comparison.between(row.cell, other)))
    return found


def _counterparts(features: str, encoders: Sequence[str]) -> Iterator[tuple[str, str]]:
    parts = feature_parts(features)
    for replacement, question in (("untrained", "what pretraining adds"), ("pca", "beyond PCA of the encoder's inputs")):
        yield question, "+".join(replacement if part in encoders else part for part in parts)
    rest = [part for part in parts if part not in encoders]
    if rest:
        yield "added to the same features", "+".join(rest)


def _headline(benchmark: str, claim: str, control: str) -> str:
    if claim == "better":
        return f"On {benchmark} the encoder is better than the control ({control})."
    if claim == "worse":
        return f"On {benchmark} the encoder is worse than the control ({control}): use the control."
    return f"On {benchmark}, the encoder against the control ({control}): no difference shown."


def _headline_of_few(comparison: Comparison, row: Row) -> str:
    if row.n_paired > 1:
        return f"Too few {comparison.unit} to tell ({row.n_paired}, {FEWEST_UNITS} are needed): no difference to the control is claimed."
    one = (
        "One task" if comparison.control.n_tasks == 1 else f"The encoder and the control have values on one of the {comparison.unit} alone"
    )
    return f"{one}: no interval over tasks exists, so no difference is claimed."


def _over_splits(comparison: Comparison, row: Row) -> str:
    """What the splits of the one data set say, as a sentence; empty where there are too few."""
    found = split_differences(comparison.results, comparison.control.cell)
    own = found[(found["features"] == row.features) & (found["head"] == row.head)].to_dict("records")
    if not own:
        return ""
    bounds = interval(own[0]["ci_low"], own[0]["ci_high"], comparison.decimals)
    return (
        f" Over {own[0]['n_splits']} random splits of this data set its 95 % interval is {bounds} ({own[0]['claim']}): that is about other "
        "splits of these molecules, not about other data."
    )


def _verdict_without_encoder(comparison: Comparison) -> Verdict:
    if any(row.role == "encoder" for row in comparison.rows):
        return Verdict(
            "The encoder cannot be compared with the control.",
            f"There is no task on which both a combination with the encoder and the control {comparison.control.name} have a value.",
        )
    return Verdict("These are controls alone.", "No row uses an encoder, so there is nothing to say about one.")


def _stronger_control(comparison: Comparison) -> Row | None:
    """The control that does better than the one chosen as the control, if there is one: a verdict must not rest on a weak choice."""
    others = comparison.with_role("control")
    if not others or not (others[0].difference > 0 if comparison.larger_is_better else others[0].difference < 0):
        return None
    return others[0]
