"""Options of commands that read labels from a table: ``fit`` and ``evaluate table``."""

from typing import Annotated

import typer

_PANEL = "Labels"

TaskType = Annotated[str, typer.Option("--task-type", help="auto, regression or classification.", rich_help_panel=_PANEL)]
TargetUnit = Annotated[
    str | None, typer.Option("--target-unit", help="Unit of the column: M, mM, uM, nM, pM, g/L, ug/mL, …", rich_help_panel=_PANEL)
]
To = Annotated[
    str, typer.Option("--to", help="Learn pIC50, pEC50, pKi, pKd, … (−log10 of mol/L), log10 or -log10.", rich_help_panel=_PANEL)
]
ActiveAbove = Annotated[
    float | None, typer.Option("--active-above", help="Class 1 is at or above this value, after --to.", rich_help_panel=_PANEL)
]
ActiveBelow = Annotated[
    float | None, typer.Option("--active-below", help="Class 1 is at or below this value, after --to.", rich_help_panel=_PANEL)
]
Censored = Annotated[
    str, typer.Option("--censored", help="Bounds such as >10000: drop, or value to use them as measured.", rich_help_panel=_PANEL)
]
RelationColumn = Annotated[
    str | None,
    typer.Option("--relation-column", help="Column of <, >, =, ~ beside the target; one for each target.", rich_help_panel=_PANEL),
]
Duplicates = Annotated[
    str, typer.Option("--duplicates", help="Molecules measured more than once: median, mean, first or keep.", rich_help_panel=_PANEL)
]
Conflicts = Annotated[
    str, typer.Option("--conflicts", help="Where their values lie too far apart: drop, mean or keep.", rich_help_panel=_PANEL)
]
MaxSpread = Annotated[
    float | None,
    typer.Option(
        "--max-spread",
        help="Too far, in units of the label: by default 1 with --to, otherwise the standard deviation of all labels.",
        rich_help_panel=_PANEL,
    ),
]
