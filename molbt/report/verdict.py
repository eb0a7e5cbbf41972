"""What the encoder adds, in plain words, computed from the paired differences."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from molbt.evaluation.statistics import GroupOf, paired_differences
from molbt.report.comparison import ENCODER_PARTS, NO_INTERVAL, PUBLISHED, Comparison, feature_parts
from molbt.report.wording import cell_name, decimals_for, interval, larger_is_better, metric_name, number


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
    difference: str
    interval: str
    claim: str


def verdict(comparison: Comparison, label_unit: str = "") -> Verdict:
    """Return what the encoder adds to the control.

    A difference is claimed only when its 95 % interval over tasks excludes zero; otherwise the headline says "no difference shown".
    Without an interval (one task), or without a row that uses the encoder, it says that instead.
    """
    row = comparison.best("encoder")
    control = cell_name(*comparison.control)
    if row is None or not row["n_paired"]:
        return _verdict_without_encoder(comparison, control)
    name = metric_name(comparison.metric, label_unit)
    decimals = decimals_for(comparison.rows)
    difference = number(row["difference"], decimals, sign=True)
    encoder_rows = comparison.rows[comparison.rows["role"] == "encoder"]
    if len(encoder_rows) > 1:
        candidates = f"the best of the {len(encoder_rows)} combinations with the encoder"
    else:
        candidates = "the one combination with the encoder"
    means = f"{cell_name(row['features'], row['head'])}, {candidates}, has a mean {name} of {number(row['mean'], decimals)}"
    control_mean = comparison.rows.loc[comparison.rows["role"] == "the control", "mean"].iloc[0]
    against = f"the control {control} has {number(control_mean, decimals)}"
    if row["claim"] == NO_INTERVAL:
        return Verdict(
            "One task: no interval over tasks exists, so no difference is claimed.",
            f"{means}, {against}; the mean difference is {difference}.",
        )
    bounds = interval(row["ci_low"], row["ci_high"], decimals)
    counts = f"it is better on {row['wins']} and worse on {row['losses']} of {row['n_paired']} {comparison.unit}"
    return Verdict(
        _headline(str(row["claim"]), control),
        f"{means}, {against}; the mean paired difference is {difference} (95 % interval {bounds}), and {counts}.{_better_control(comparison)}",
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
    if comparison.n_tasks > 1:
        text += (
            f"Repeats are averaged first; means, standard errors and paired 95 % t-intervals are over {comparison.unit}, not over seeds, "
            "and are not corrected for the number of comparisons."
        )
    else:
        text += "With one task there is no interval over tasks: repeats share their molecules and say nothing about another task."
    other = sorted(set(published["split"].astype(str)) - set(own["split"].astype(str)) - {""})
    return text + (f" Published values were measured on another split: {', '.join(other)}." if other else "")


def contrasts(comparison: Comparison, *, encoders: Sequence[str] = ENCODER_PARTS, group_of: GroupOf | None = None) -> list[Contrast]:
    """Return the encoder beside its untrained self, beside PCA of the same inputs, and beside the features without it, where these were run."""
    cells = set(zip(comparison.rows["features"], comparison.rows["head"], strict=True))
    encoder_rows = comparison.rows[comparison.rows["role"] == "encoder"].sort_values(["features", "head"], kind="stable")
    decimals = decimals_for(comparison.rows)
    found = []
    for row in encoder_rows.itertuples():
        for question, other in _counterparts(row.features, encoders):
            if (other, row.head) not in cells:
                continue
            differences = paired_differences(comparison.results, (other, row.head), group_of=group_of)
            found.append(_contrast(question, differences, (row.features, row.head), other, decimals))
    return found


def _counterparts(features: str, encoders: Sequence[str]) -> Iterator[tuple[str, str]]:
    parts = feature_parts(features)
    for replacement, question in (("untrained", "what pretraining adds"), ("pca", "beyond PCA of the encoder's inputs")):
        yield question, "+".join(replacement if part in encoders else part for part in parts)
    rest = [part for part in parts if part not in encoders]
    if rest:
        yield "added to the same features", "+".join(rest)


def _contrast(question: str, differences: pd.DataFrame, cell: tuple[str, str], other: str, decimals: int) -> Contrast:
    row = differences[(differences["features"] == cell[0]) & (differences["head"] == cell[1])].iloc[0]
    return Contrast(
        question=question,
        first=cell_name(*cell),
        second=cell_name(other, cell[1]),
        difference=number(row["mean_difference"], decimals, sign=True),
        interval=interval(row["ci_low"], row["ci_high"], decimals),
        claim=str(row["claim"]) if row["n_tasks"] >= 2 else NO_INTERVAL,
    )


def _headline(claim: str, control: str) -> str:
    if claim == "better":
        return f"The encoder is better than the control ({control})."
    if claim == "worse":
        return f"The encoder is worse than the control ({control}): use the control."
    return f"The encoder against the control ({control}): no difference shown."


def _verdict_without_encoder(comparison: Comparison, control: str) -> Verdict:
    if (comparison.rows["role"] == "encoder").any():
        return Verdict(
            "The encoder cannot be compared with the control.",
            f"There is no task on which both a combination with the encoder and the control {control} have a value.",
        )
    return Verdict("These are controls alone.", "No row uses an encoder, so there is nothing to say about one.")


def _better_control(comparison: Comparison) -> str:
    """A control that was not chosen as the control, but has the better mean, is named: the reader should know."""
    row = comparison.best("control")
    control = comparison.rows[comparison.rows["role"] == "the control"].iloc[0]
    if row is None or pd.isna(control["mean"]):
        return ""
    ahead = row["mean"] > control["mean"] if larger_is_better(comparison.metric) else row["mean"] < control["mean"]
    if not ahead:
        return ""
    decimals = decimals_for(comparison.rows)
    return f" Another control has the better mean: {cell_name(row['features'], row['head'])}, {number(row['mean'], decimals)}."
