"""Explained predictions as files: a drawing of each molecule, the contributions as a table, and one HTML page that shows both."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from molbt.data.files import atomic_write
from molbt.predict.explain import BASE, Explanation
from molbt.report.document import html_document
from molbt.report.molecule_drawing import draw_contributions
from molbt.report.wording import number

CONTRIBUTIONS, PAGE = "contributions.csv", "index.html"
_GRID = """
.molecules { display: grid; grid-template-columns: repeat(auto-fill, minmax(26rem, 1fr)); gap: 1rem; }
.molecule svg svg { width: initial; height: initial; }
"""


def write_explanations(
    explanation: Explanation,
    smiles: Sequence[object],
    directory: Path,
    *,
    title: str,
    refused: Mapping[int, str],
    notes: Sequence[str] = (),
) -> None:
    """Write ``row_<n>.svg`` for each explained row, ``contributions.csv`` and ``index.html`` into a directory that exists.

    Parameters
    ----------
    explanation : Explanation
    smiles : sequence of n str
        Of its rows, for the page.
    directory : Path
    title : str
        Of the page.
    refused : mapping of int to str
        Why a row has no prediction.
    notes : sequence of str
        Sentences for the reader.

    Notes
    -----
    All drawings share one scale, so that colours can be compared between molecules. The page needs nothing beside it.
    """
    molecules = {row: molecule for row, molecule in enumerate(explanation.molecules) if molecule is not None}
    atoms = {row: explanation.atoms_of(row) for row in molecules}
    largest = max((float(np.abs(values).max()) for values in atoms.values()), default=0.0) or None
    figures = []
    for row, molecule in molecules.items():
        svg = draw_contributions(molecule, atoms[row], explanation.caption(row), largest=largest)
        with atomic_write(directory / f"row_{row}.svg") as file:
            file.write(svg.encode())
        # Identifiers of drawings in one page must differ.
        inline = svg.replace('id="scale"', f'id="scale_{row}"').replace("url(#scale)", f"url(#scale_{row})")
        figures.append(f'<figure class="molecule">{inline}<figcaption>Row {row}: {escape(str(smiles[row]))}</figcaption></figure>')
    with atomic_write(directory / CONTRIBUTIONS) as file:
        explanation.frame.to_csv(file, index=False)
    sections = [
        f"<h1>{escape(title)}</h1>",
        *(f"<p>{escape(note)}</p>" for note in notes),
        f'<div class="molecules">{"".join(figures)}</div>',
        *([_blocks(explanation)] if explanation.additive and molecules else []),
        *([refusals(refused)] if refused else []),
    ]
    with atomic_write(directory / PAGE) as file:
        file.write(html_document(title, sections, style=_GRID).encode())


def share_on_atoms(explanation: Explanation) -> float:
    """Return the share that atoms have in what separates additive predictions from their base, over all rows; NaN without a row.

    The sums of a row on its atoms and on none are compared by size, as they stand in its caption.
    """
    terms = explanation.frame[explanation.frame["block"] != BASE]
    sums = terms["contribution"].groupby([terms["row"], terms["atom"].notna()]).sum().abs()
    on_atoms = sums.groupby(level=1).sum()
    return float(on_atoms.get(True, 0.0) / on_atoms.sum()) if on_atoms.sum() else math.nan


def _blocks(explanation: Explanation) -> str:
    """The sum of each block for each molecule."""
    sums = explanation.by_block()
    head = "".join(f'<th class="number">{escape(str(name))}</th>' for name in ("row", *sums.columns, "prediction"))
    body = "".join(
        "<tr>"
        + f'<td class="number">{row}</td>'
        + "".join(f'<td class="number">{number(value, 3, sign=name != BASE)}</td>' for name, value in of_row.items())
        + f'<td class="number">{number(explanation.predictions[row], 3)}</td></tr>'
        for row, of_row in zip(sums.index.tolist(), sums.to_dict("records"), strict=True)
    )
    return (
        "<h2>What each block of features contributed</h2><p>The sums of a row, its base included, are its prediction.</p>"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def refusals(refused: Mapping[int, str]) -> str:
    body = "".join(f"<tr><td>{row}</td><td>{escape(reason)}</td></tr>" for row, reason in refused.items())
    return f"<h2>Refused rows</h2><table><thead><tr><th>row</th><th>reason</th></tr></thead><tbody>{body}</tbody></table>"
