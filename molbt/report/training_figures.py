"""A run drawn: the loss and its terms, effective rank, correlation, and the spectrum at the first, middle and last epoch."""

import re
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from molbt.report.drawing import LINES, SERIES, drawing, plain_axes, shorten
from molbt.report.run_record import RunRecord, Spectra

# Terms that an objective reports beside those its loss is made of: they have panels of their own, measured on the fixed probe batch.
_NOT_LOSS = ("mean_diagonal", "rms_off_diagonal", "dead_columns")
_STEP_COLUMNS = ("step", "epoch", "samples_seen", "learning_rate", "loss", "gradient_norm", "seconds", "samples_per_second")
_DIAGNOSTIC = re.compile(r"^(embedding|projection)_(std|rank)\.|^(mean_diagonal|rms_off_diagonal|dead_columns)\.|^probe\.")
# Below this share of the largest singular value there is only rounding noise of float32 projections.
_SMALLEST_SHARE = 1e-6


def training_figure(record: RunRecord) -> str:
    """Return the metrics over epochs as SVG, a panel for each kind that the run has; "" without an epoch."""
    table = record.metrics
    panels = [(title, label, columns) for title, label, columns in _panels(table) if columns]
    if table.empty or not panels:
        return ""
    n_rows = (len(panels) + 1) // 2
    with drawing(
        "training", 2.75 * n_rows, f"Training metrics over {len(table)} epochs: {', '.join(title for title, _, _ in panels)}"
    ) as result:
        for number, (title, label, columns) in enumerate(panels, start=1):
            axes = result.figure.add_subplot(n_rows, 2, number)
            marker = "o" if len(table) <= 30 else ""
            for column, color, line in zip(columns, _cycle(SERIES, len(columns)), _cycle(LINES, len(columns)), strict=True):
                axes.plot(
                    table["epoch"], table[column], color=color, linestyle=line, marker=marker, markersize=3, label=shorten(column, 40)
                )
            axes.set_title(title)
            axes.set_xlabel("epoch")
            axes.set_ylabel(label)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
            _choose_scale(axes, table[columns])
            plain_axes(axes)
            if len(columns) > 1:
                axes.legend(loc="upper left", bbox_to_anchor=(0, -0.22), ncols=2, borderaxespad=0, handlelength=2.4)
    return result.svg


def spectrum_figure(record: RunRecord) -> str:
    """Return the singular values of embeddings and projections at the first, middle and last epoch as SVG; "" where there are none."""
    spectra = record.spectra
    names = sorted({name for _, by_name in spectra for name in by_name})
    if not names:
        return ""
    n_rows = (len(names) + 1) // 2
    with drawing("spectrum", 2.75 * n_rows, f"Singular values of {', '.join(names)} at {len(_moments(spectra))} epochs") as result:
        for number, name in enumerate(names, start=1):
            axes = result.figure.add_subplot(n_rows, 2, number)
            for position, color, line in zip(_moments(spectra), SERIES, LINES, strict=False):
                step, by_name = spectra[position]
                shares = _shares(by_name.get(name, []))
                axes.plot(np.arange(1, len(shares) + 1), shares, color=color, linestyle=line, label=f"epoch {position + 1} (step {step:,})")
            axes.set_title(name)
            axes.set_xlabel("singular value, by size")
            axes.set_ylabel("share of the largest")
            _logarithmic(axes)
            plain_axes(axes)
            axes.legend(loc="lower left")
    return result.svg


def _panels(table: pd.DataFrame) -> list[tuple[str, str, list[str]]]:
    """Return title, axis label and columns of each panel; a panel may have no column."""
    columns = [str(column) for column in table.columns if pd.api.types.is_numeric_dtype(table[column]) and table[column].notna().any()]

    def pick(keep: Callable[[str], bool]) -> list[str]:
        return [column for column in columns if keep(column)]

    terms = pick(
        lambda name: (
            name not in _STEP_COLUMNS and not _DIAGNOSTIC.match(name) and not name.endswith(_NOT_LOSS) and not name.endswith(".loss")
        )
    )
    return [
        ("loss and its terms (mean over an epoch)", "loss", [*pick(lambda name: name == "loss"), *terms]),
        ("effective rank (probe batch)", "directions", pick(lambda name: "_rank." in name)),
        (
            "cross-correlation of the projections (probe batch)",
            "correlation",
            pick(lambda name: name.startswith(("mean_diagonal.", "rms_off_diagonal."))),
        ),
        ("spread of normalised rows (0: collapsed)", "std × √width", pick(lambda name: "_std." in name)),
        ("gradient norm before clipping", "norm", pick(lambda name: name == "gradient_norm")),
        ("learning rate", "learning rate", pick(lambda name: name == "learning_rate")),
        ("dead columns of the projections (probe batch)", "columns", _nonzero(table, pick(lambda name: name.startswith("dead_columns.")))),
        ("probe", "value", pick(lambda name: name.startswith("probe."))),
    ]


def _nonzero(table: pd.DataFrame, columns: list[str]) -> list[str]:
    """A panel of zeros tells nothing; the page says "no dead columns" instead."""
    return [column for column in columns if (table[column] != 0).any()]


def _moments(spectra: Spectra) -> list[int]:
    """Positions of the first, middle and last epoch, without repeats."""
    last = len(spectra) - 1
    return sorted({0, last // 2, last})


def _shares(values: Sequence[float]) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if not len(array) or not array.max() > 0:
        return np.empty(0)
    shares = array / array.max()
    return shares[shares >= _SMALLEST_SHARE]


def _choose_scale(axes: Axes, values: pd.DataFrame) -> None:
    """A logarithmic axis where everything is positive and spans more than a factor of 20."""
    smallest, largest = values.min().min(), values.max().max()
    if smallest > 0 and largest / smallest > 20:
        _logarithmic(axes)
    elif smallest >= 0:
        axes.set_ylim(0, 1.08 * largest if largest > 0 else 1)


def _logarithmic(axes: Axes) -> None:
    axes.set_yscale("log")
    # Matplotlib labels powers in its own markup, which is switched off here because names come from users.
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 1e3 else (1,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _cycle(items: Sequence, count: int) -> list:
    return [items[position % len(items)] for position in range(count)]
