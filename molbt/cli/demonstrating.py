"""The command ``demo``: the main job once, on molecules that come with RDKit."""

from pathlib import Path
from typing import Annotated

import typer

from molbt.cli.app import app
from molbt.cli.options import Jobs, is_quiet
from molbt.cli.progress import progress


@app.command()
def demo(
    context: typer.Context,
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory of everything the demo makes.")] = Path("demo"),
    jobs: Jobs = 2,
) -> None:
    """Do the main job on the molecules that come with RDKit, in a few minutes."""
    from molbt.demo import LABEL_UNIT, METRIC, run_demo
    from molbt.evaluation.controls import CONTROL
    from molbt.report.tables import text_table

    with progress(quiet=is_quiet(context)) as display:
        result = run_demo(output, n_jobs=jobs, progress=display)
    typer.echo(text_table(result.results, CONTROL, METRIC, label_unit=LABEL_UNIT))
    for note in result.notes:
        typer.echo(note)
    typer.echo(f"encoder: {result.run}\nreport: {result.report}")
