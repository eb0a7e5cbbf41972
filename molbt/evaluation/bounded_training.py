"""Which results come from heads that learned from fewer rows than there were, because their cost grows with the square of the rows."""

import pandas as pd

from molbt.predict.heads import HEADS


def bounded_training(results: pd.DataFrame) -> list[str]:
    """Return a sentence for each head that reached its ``max_rows``, with the data sets where it did.

    Parameters
    ----------
    results : DataFrame
        As ``evaluate`` returns it.
    """
    notes = []
    for head in results["head"].unique():
        bound = HEADS[head]().parameters().get("max_rows") if head in HEADS else None
        data_sets = results.loc[(results["head"] == head) & (results["n_train"] == bound), "data_set"].unique()
        if len(data_sets):
            notes.append(
                f"{head} learned from {bound:,} training rows of {', '.join(data_sets)}, its max_rows: drawn at random, all rows of a rare "
                "class among them. Other heads learned from all."
            )
    return notes
