"""What became of the rows of a measured column."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LabelCounts:
    """What became of the rows: the first eight add up to ``rows``.

    Attributes
    ----------
    labels : int
        Rows with a label.
    missing : int
        Empty cells.
    unreadable, unconvertible : int
        Cells that are neither number nor class; numbers without a logarithm or without the molar mass that their unit needs.
    censored : int
        Bounds left out.
    replicates : int
        Rows whose value went into the label of another row.
    conflicts : int
        Rows of molecules whose measurements contradict each other.
    rows : int
    bounds_used, approximate : int
        Among the labels, before replicates are combined: bounds taken as measured or deciding a class, and approximate values.
    """

    labels: int = 0
    missing: int = 0
    unreadable: int = 0
    unconvertible: int = 0
    censored: int = 0
    replicates: int = 0
    conflicts: int = 0
    rows: int = 0
    bounds_used: int = 0
    approximate: int = 0

    def left_out(self) -> str:
        """Return the rows with a cell and without a label in words, or ``""``: ``bounds 12, replicates of other rows 3``."""
        words = {
            "unreadable": "neither number nor class",
            "unconvertible": "not convertible",
            "censored": "bounds",
            "replicates": "replicates of other rows",
            "conflicts": "in conflict",
        }
        return listed({word: getattr(self, name) for name, word in words.items()})


def listed(numbers: dict[str, int]) -> str:
    """Return numbers with what they count, those of zero left out: ``bounds 12, conflicts 3``."""
    return ", ".join(f"{word} {number:,}" for word, number in numbers.items() if number)
