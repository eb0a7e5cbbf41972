"""Explained predictions for a described assay as files: four tables, and one HTML page that shows what is in them."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
from rdkit.Chem import Mol

from molbt.data.files import atomic_write
from molbt.data.molecules import ParsePolicy, parse_molecules
from molbt.predict.pair_explanation import BASE, PairExplanation
from molbt.report.contribution_bars import draw_bars, largest_bar
from molbt.report.document import html_document
from molbt.report.drawing import shorten
from molbt.report.explanation_page import CONTRIBUTIONS, PAGE, refusals
from molbt.report.molecule_drawing import draw_molecule
from molbt.report.wording import number

PREDICTIONS, PAIRS, ASSAYS = "predictions.csv", "pairs.csv", "assays.csv"
_TEXT = 180  # characters of a description on the page; the tables have it whole
_LARGE, _SMALL = (380, 220), (170, 100)  # pixels of drawings
_STYLE = """
.pair { display: grid; grid-template-columns: minmax(0, 2fr) minmax(0, 3fr); gap: 1rem; align-items: center; }
.pair svg, td svg { border-radius: 4px; } td svg { width: 170px; } .smiles { overflow-wrap: anywhere; }
"""


def write_pair_explanations(
    explanations: Sequence[PairExplanation | None],
    smiles: Sequence[object],
    probabilities: np.ndarray,
    directory: Path,
    *,
    title: str,
    refused: Mapping[int, str],
    notes: Sequence[str] = (),
    policy: ParsePolicy | None = None,
) -> None:
    """Write ``predictions.csv``, ``contributions.csv``, ``pairs.csv``, ``assays.csv`` and ``index.html`` into a directory that exists.

    Parameters
    ----------
    explanations : sequence of n (PairExplanation or None)
    smiles : sequence of n str
    probabilities : ndarray of shape (n,), float64
        The predictions after calibration; NaN where refused.
    directory : Path
    title : str
        Of the page.
    refused : mapping of int to str
        Why a row has no prediction.
    notes : sequence of str
        Sentences for the reader.
    policy : ParsePolicy, optional
        How the predictor reads molecules.

    Notes
    -----
    ``predictions.csv`` has one row per row; the others name the row in their first column, and have none of a refused one. All bars share
    one scale. The page needs nothing beside it.
    """
    explained = {row: found for row, found in enumerate(explanations) if found is not None}
    predictions = pd.DataFrame(
        {
            "row": np.arange(len(smiles)),
            "smiles": list(smiles),
            "log_odds": [np.nan if found is None else found.log_odds for found in explanations],
            "prediction": probabilities,
            "molbt_reason": [refused.get(row) for row in range(len(smiles))],
        }
    )
    contributions = [(row, name, value) for row, found in explained.items() for name, value in found.blocks.items()]
    _write(directory / PREDICTIONS, predictions)
    _write(directory / CONTRIBUTIONS, pd.DataFrame(contributions, columns=["row", "block", "contribution"]))
    _write(directory / PAIRS, _stacked({row: found.pairs for row, found in explained.items()}, ["smiles", "text", "label", "shared"]))
    _write(directory / ASSAYS, _stacked({row: found.assays for row, found in explained.items()}, ["text", "pairs", "shared"]))
    largest = max((largest_bar(found.blocks) for found in explained.values()), default=0.0) or None
    molecules = _molecules([str(smiles[row]) for row in explained], policy)
    sections = [
        f"<h1>{escape(title)}</h1>",
        *(f"<p>{escape(note)}</p>" for note in notes),
        *(
            _section(row, str(smiles[row]), mol, found, float(probabilities[row]), largest, policy)
            for (row, found), mol in zip(explained.items(), molecules, strict=True)
        ),
        *([refusals(refused)] if refused else []),
    ]
    with atomic_write(directory / PAGE) as file:
        file.write(html_document(title, sections, style=_STYLE).encode())


def _section(
    row: int, smiles: str, mol: Mol | None, found: PairExplanation, probability: float, largest: float | None, policy: ParsePolicy | None
) -> str:
    bars = draw_bars(found.blocks, base=BASE, total="log-odds", largest=largest)
    # What took no part in training shares nothing; it may be what RDKit does not survive.
    known = _molecules([text if shared else "" for text, shared in zip(found.pairs["smiles"], found.pairs["shared"], strict=True)], policy)
    pairs = [
        f'<tr><td>{_picture(other, _SMALL)}</td><td class="smiles">{escape(pair["smiles"])}</td>'
        f"<td>{escape(shorten(pair['text'], _TEXT))}</td>"
        f'<td>{"active" if pair["label"] else "inactive"}</td><td class="number">{_percent(pair["shared"])}</td></tr>'
        for pair, other in zip(found.pairs.to_dict("records"), known, strict=True)
    ]
    assays = [
        f'<tr><td>{escape(shorten(assay["text"], _TEXT))}</td><td class="number">{assay["pairs"]:,}</td>'
        f'<td class="number">{_percent(assay["shared"])}</td></tr>'
        for assay in found.assays.to_dict("records")
    ]
    return (
        f"<h2>Row {row}: probability of activity {number(probability, 3)}</h2>"
        f'<div class="pair"><figure>{_picture(mol, _LARGE)}<figcaption>{escape(smiles)}</figcaption></figure>'
        f"<figure>{bars}<figcaption>What each part adds to the log-odds of activity, before calibration.</figcaption></figure></div>"
        "<h3>Training pairs that share most leaves with it</h3><p>The share of trees that put both into one leaf.</p>"
        + _table(("molecule", "SMILES", "assay", "label", "shared"), pairs)
        + "<h3>Training assays that share most leaves with it, on average over their pairs</h3>"
        + _table(("assay", "pairs", "shared"), assays)
    )


def _table(head: Sequence[str], rows: Sequence[str]) -> str:
    cells = "".join(f'<th class="number">{name}</th>' if name in ("pairs", "shared") else f"<th>{name}</th>" for name in head)
    return f'<div class="scroll"><table><thead><tr>{cells}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _picture(mol: Mol | None, size: tuple[int, int]) -> str:
    return draw_molecule(mol, *size) if mol is not None and mol.GetNumAtoms() else ""


def _molecules(smiles: Sequence[str], policy: ParsePolicy | None) -> list[Mol | None]:
    return [mol for mol, _ in parse_molecules(list(smiles), policy or ParsePolicy())]


def _percent(share: float) -> str:
    return f"{number(100 * share, 0)} %"


def _stacked(tables: Mapping[int, pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    """The tables below each other, with the number of their row."""
    chosen = ["row", *columns]
    return pd.concat([table.assign(row=row)[chosen] for row, table in tables.items()]) if tables else pd.DataFrame(columns=chosen)


def _write(path: Path, table: pd.DataFrame) -> None:
    with atomic_write(path) as file:
        table.to_csv(file, index=False)
