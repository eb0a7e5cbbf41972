"""An HTML page that needs nothing beside it: its style is inside, and there is no script."""

from collections.abc import Sequence
from html import escape

from molbt.report.style import style_sheet


def html_document(title: str, sections: Sequence[str], *, style: str = "") -> str:
    """Return a page of sections that are HTML already; ``style`` is CSS beyond that of every page."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{style_sheet()}{style}</style>\n</head>\n<body>\n"
        + "\n".join(sections)
        + "\n</body>\n</html>\n"
    )


def figure(svg: str, caption: str) -> str:
    """Return a drawing with its caption."""
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"
