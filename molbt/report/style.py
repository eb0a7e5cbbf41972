"""The page's style sheet: no fonts to fetch, light and dark by the reader's preference, light on paper."""

from molbt.report.drawing import BLUE, DARK, GRID, INK, MUTED, PAPER, variable


def style_sheet() -> str:
    """Return the CSS of a report."""
    light = "".join(f"{variable(color)}:{color};" for color in DARK)
    dark = "".join(f"{variable(color)}:{value};" for color, value in DARK.items())
    paper, ink, muted, grid, blue = (f"var({variable(color)})" for color in (PAPER, INK, MUTED, GRID, BLUE))
    return f"""
:root {{ color-scheme: light; {light} --tint: #eef4fa; --band: #f5f7f9; }}
@media screen and (prefers-color-scheme: dark) {{ :root {{ color-scheme: dark; {dark} --tint: #1d2a36; --band: #1e2329; }} }}
* {{ box-sizing: border-box; }}
body {{ margin: 0 auto; max-width: 1100px; padding: 2rem 1.5rem 4rem; background: {paper}; color: {ink};
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; overflow-wrap: anywhere; }}
h1 {{ font-size: 1.75rem; line-height: 1.25; margin: 0 0 1.25rem; }}
h2 {{ font-size: 1.25rem; margin: 2.75rem 0 .75rem; padding-bottom: .3rem; border-bottom: 1px solid {grid}; }}
h3 {{ font-size: 1.05rem; margin: 1.75rem 0 .5rem; }}
p {{ margin: .5rem 0; max-width: 75ch; }}
.verdict {{ background: var(--tint); border-left: 4px solid {blue}; padding: .9rem 1.2rem; margin: 1rem 0; }}
.verdict p {{ max-width: none; }}
.protocol, .footnotes, .note, figcaption {{ color: {muted}; font-size: .9rem; }}
.footnotes {{ margin: .5rem 0; padding-left: 1.2rem; }}
.scroll {{ overflow-x: auto; }}
.tall {{ max-height: 34rem; overflow-y: auto; border-bottom: 1px solid {grid}; }}
.tall thead th {{ position: sticky; top: 0; background: {paper}; z-index: 1; }}
.tall tr.the-control td {{ position: sticky; top: 1.9rem; bottom: 0; }}
.wrap th {{ white-space: normal; }}
.matrix {{ margin-bottom: 1.5rem; }} .matrix th, .matrix td {{ padding: .28rem .35rem; }} .matrix thead th {{ white-space: normal; }}
.matrix tbody th {{ border-bottom: 1px solid {grid}; font-weight: 400; }}
.matrix tr.encoder th {{ box-shadow: inset 3px 0 {blue}; }}
.matrix td.best {{ font-weight: 700; }} .matrix td.chosen {{ background: var(--tint); }} .mark {{ color: {muted}; font-size: .75em; }}
table {{ border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; width: 100%; overflow-wrap: normal; }}
caption {{ text-align: left; font-weight: 600; padding-bottom: .4rem; }}
th, td {{ padding: .32rem .5rem; text-align: left; border-bottom: 1px solid {grid}; vertical-align: top; }}
th {{ border-bottom: 2px solid {muted}; font-weight: 600; white-space: nowrap; }}
.number {{ text-align: right; white-space: nowrap; }}
.comparison td:last-child {{ white-space: nowrap; }}
tr.the-control td {{ background: var(--tint); font-weight: 600; }}
tr.published td {{ font-style: italic; color: {muted}; }}
tr.better td:last-child, tr.worse td:last-child {{ font-weight: 600; }}
tr.encoder td:first-child {{ box-shadow: inset 3px 0 {blue}; }}
figure {{ margin: 1rem 0 1.5rem; }}
svg {{ display: block; width: 100%; height: auto; }}
svg text {{ font-family: system-ui, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif !important; }}
dl {{ display: grid; grid-template-columns: minmax(9rem, max-content) 1fr; gap: .2rem 1.2rem; font-size: .9rem; margin: .5rem 0; }}
dt {{ color: {muted}; }} dd {{ margin: 0; }}
pre {{ background: var(--band); padding: .8rem 1rem; overflow-x: auto; font-size: .82rem; line-height: 1.4; white-space: pre-wrap;
  columns: 24rem 2; }}
summary {{ cursor: pointer; font-weight: 600; }}
details table {{ font-size: .8rem; }}
@media print {{ body {{ max-width: none; padding: 0; font-size: 11pt; }} figure, .verdict, tr {{ break-inside: avoid; }}
  h2, h3 {{ break-after: avoid; }}
  .scroll {{ overflow: visible; }} .tall {{ max-height: none; }}
  .tall * {{ position: static !important; }} * {{ print-color-adjust: exact; }} }}
""".strip()
