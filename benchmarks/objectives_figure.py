"""Draw what ``objectives.py`` found: the error of each objective's frozen embedding, seed by seed, beside the controls.

python benchmarks/objectives_figure.py runs/objectives/objectives.csv benchmarks/objectives.svg
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

CONTROLS = {"counts": ("#111111", "-"), "pca": ("#777777", "--"), "untrained": ("#c44e52", ":")}
LABELS = {"counts": "plain counts", "pca": "principal components of the inputs", "untrained": "the encoder untrained"}


def draw(results: pd.DataFrame, path: Path) -> None:
    """Write one panel per head: a row per objective, a point per seed (mean over tasks), a line per control."""
    results = results[results["metric"] == "rmse"]
    means = results.groupby(["objective", "seed", "features", "head"], as_index=False)["value"].mean()
    learned, controls = means[means["objective"] != "controls"], means[means["objective"] == "controls"]
    order = learned.groupby("objective")["value"].mean().sort_values(ascending=False).index
    heads = list(dict.fromkeys(results["head"]))
    figure, panels = plt.subplots(1, len(heads), figsize=(3.2 * len(heads) + 1, 0.3 * len(order) + 1.3), sharey=True, squeeze=False)
    for axes, head in zip(panels[0], heads, strict=True):
        for y, objective in enumerate(order):
            values = learned[(learned["objective"] == objective) & (learned["head"] == head)]["value"]
            axes.plot(values, [y] * len(values), "o", color="#4c72b0", alpha=0.7, markersize=5)
            axes.plot([values.mean()], [y], "|", color="#4c72b0", markersize=14)
        for features, (colour, style) in CONTROLS.items():
            value = controls[(controls["features"] == features) & (controls["head"] == head)]["value"].mean()
            axes.axvline(value, color=colour, linestyle=style, linewidth=1, label=LABELS[features])
        axes.set_title(head, fontsize=10)
        axes.set_xlabel("RMSE, mean over tasks", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(axis="y", linewidth=0.3)
        axes.set_axisbelow(True)
    panels[0][0].set_yticks(range(len(order)), order)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=3, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="objectives.csv")
    parser.add_argument("figure", type=Path, help="an .svg or .png")
    arguments = parser.parse_args()
    plt.rcParams["svg.hashsalt"] = "molbt"  # the same file from the same results
    draw(pd.read_csv(arguments.results), arguments.figure)


if __name__ == "__main__":
    main()
