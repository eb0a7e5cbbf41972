"""A molecule drawn as SVG, plain or with what its atoms contributed: the same bytes from the same numbers, and nothing to fetch."""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from rdkit.Chem import Mol
from rdkit.Chem.Draw import rdMolDraw2D

from molbt.errors import ShapeError
from molbt.report.drawing import BLUE, INK, MUTED, ORANGE

_WIDTH, _PICTURE, _LINE = 560, 340, 20  # pixels
_BAR_WIDTH, _BAR_HEIGHT = 200, 10
_FONT = 'font-family="system-ui, sans-serif"'


def draw_contributions(mol: Mol, contributions: np.ndarray, caption: Sequence[str] = (), *, largest: float | None = None) -> str:
    """Return an SVG document: a disc behind each atom, blue where it raises the prediction and orange where it lowers it.

    Parameters
    ----------
    mol : Mol
        At least one atom; drawn in two dimensions whatever coordinates it has.
    contributions : ndarray of shape (n_atoms,), float
        The depth of the colour is proportional to the size.
    caption : sequence of str
        Lines of text below the scale.
    largest : float, optional
        The size that has the full colour, positive; give the same to several drawings to compare them. By default the largest here.

    Raises
    ------
    ShapeError
        If there is no atom, or not one finite contribution for each.
    """
    values = np.asarray(contributions, dtype=np.float64)
    if not mol.GetNumAtoms() or values.shape != (mol.GetNumAtoms(),) or not np.isfinite(values).all():
        raise ShapeError(f"expected one finite contribution for each of {mol.GetNumAtoms()} atoms (one or more), received {values.shape}")
    full = float(largest or np.abs(values).max() or 1.0)
    # Discs instead of RDKit's contour map, whose sum of Gaussians shows the spacing of atoms as much as their numbers.
    atoms = list(range(len(values)))
    picture = _drawn(
        mol,
        _WIDTH,
        _PICTURE,
        highlightAtoms=atoms,
        highlightAtomColors={atom: _color(values[atom] / full) for atom in atoms},
        highlightAtomRadii=dict.fromkeys(atoms, 0.42),
        highlightBonds=[],
    )
    height = _PICTURE + _LINE * (len(caption) + 3)
    lines = "".join(
        f'<text x="{_WIDTH / 2:g}" y="{_PICTURE + _LINE * (i + 2.9):g}" text-anchor="middle" font-size="13" fill="{INK}" {_FONT}>'
        f"{escape(line)}</text>\n"
        for i, line in enumerate(caption)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}">\n'
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>\n{picture}{_scale(full)}{lines}</svg>\n'
    )


def draw_molecule(mol: Mol, width: int, height: int) -> str:
    """Return an SVG element of a molecule with at least one atom, on white, so many pixels large."""
    return _drawn(mol, width, height)


def _drawn(mol: Mol, width: int, height: int, **highlights: Any) -> str:
    drawer = rdMolDraw2D.MolDraw2DSVG(width, height)
    options: Any = drawer.drawOptions()
    options.useBWAtomPalette()
    options.highlightBondWidthMultiplier = 1
    options.padding = 0.08
    options.includeMetadata = False
    drawer.DrawMolecule(rdMolDraw2D.PrepareMolForDrawing(mol, kekulize=True, addChiralHs=True), **highlights)
    drawer.FinishDrawing()
    picture: str = drawer.GetDrawingText()
    return picture[picture.index("<svg") :]


def _scale(full: float) -> str:
    left, top = (_WIDTH - _BAR_WIDTH) / 2, _PICTURE + 8
    stops = "".join(f'<stop offset="{share}" stop-color="{color}"/>' for share, color in ((0, ORANGE), (0.5, "#ffffff"), (1, BLUE)))
    marks = zip((left, _WIDTH / 2, left + _BAR_WIDTH), (f"−{full:.3g}", "0", f"+{full:.3g}"), strict=True)
    labels = "".join(
        f'<text x="{x:g}" y="{top + _BAR_HEIGHT + 13:g}" text-anchor="middle" font-size="11" fill="{MUTED}" {_FONT}>{text}</text>\n'
        for x, text in marks
    )
    return (
        f'<defs><linearGradient id="scale">{stops}</linearGradient></defs>\n'
        f'<rect x="{left:g}" y="{top:g}" width="{_BAR_WIDTH}" height="{_BAR_HEIGHT}" fill="url(#scale)" stroke="{MUTED}"/>\n{labels}'
    )


def _color(share: float) -> tuple[float, float, float]:
    """From white at 0 to full blue at 1 and full orange at −1; beyond, the full colour."""
    text = BLUE if share > 0 else ORANGE
    depth = min(abs(share), 1.0)
    red, green, blue = (1 - depth * (1 - int(text[i : i + 2], 16) / 255) for i in (1, 3, 5))
    return red, green, blue
