"""The command ``explain``."""

from pathlib import Path
from typing import Annotated

import typer

from molbt.cli.app import app
from molbt.cli.options import Device, Format, Jobs, SmilesColumn, is_quiet
from molbt.cli.progress import progress
from molbt.cli.rows import reasons_of_refusal, warn_if_all_refused


@app.command()
def explain(
    context: typer.Context,
    table: Annotated[Path, typer.Argument(help="A table of molecules; - is standard input.")],
    predictor: Annotated[Path, typer.Option("--predictor", help="A directory that molbt fit wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory of the drawings, the table and the page.")],
    target: Annotated[str | None, typer.Option("--target", help="Which of several targets.")] = None,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            help="contributions (of LightGBM's trees: they add up, but much of them belongs to features that the molecule lacks), masking "
            "(any head on counts: the change when an atom's features are taken away), or auto: contributions where there are any.",
        ),
    ] = "auto",
    limit: Annotated[int, typer.Option("--limit", min=1, help="Explain the first so many rows.")] = 20,
    smiles_column: SmilesColumn = None,
    format: Format = None,
    jobs: Jobs = 1,
    device: Device = "auto",
) -> None:
    """Draw what each atom contributed to a prediction: an SVG per molecule, a table of contributions, and a page with all of it."""
    from molbt.data.files import check_new_directory, new_directory
    from molbt.data.tables import read_table, require_column
    from molbt.predict.explain import explain as explain_head
    from molbt.predict.predictor import Predictor
    from molbt.report.explanation_page import share_on_atoms, write_explanations

    check_new_directory(output)
    with progress(quiet=is_quiet(context)) as display:
        loaded = Predictor.load(predictor, n_jobs=jobs, device=device)
        name = loaded.target_named(target)
        read = read_table(table, format=format)
        column = smiles_column or "smiles"
        require_column(read.frame.columns, column, read.source, "--smiles-column")
        values = ["" if row in read.problems else value for row, value in enumerate(read.frame[column].tolist()[:limit])]
        display("explaining", 0, len(values))
        features = loaded.features_of(values)
        explanation = explain_head(loaded.heads_[name], features, values, method=method, policy=loaded.policy)
        display("explaining", len(values), len(values))
        reasons = reasons_of_refusal(loaded, read, values, ~features.valid)
        refused = {row: reason for row, reason in enumerate(reasons) if reason}
        notes = [f"Target {name}{f' in {unit}' if (unit := loaded.units_.get(name)) else ''}, head {loaded.heads_[name].name}."]
        if explanation.additive:
            notes.append(
                f"{100 * share_on_atoms(explanation):.0f} % of what separates the predictions from the base lies on atoms; the rest on "
                "features that the molecules lack and on dense ones. --method masking asks instead what changes without an atom."
            )
        else:
            notes.append("An atom's number is the prediction minus that without the features that touch it; these do not add up.")
        if len(read.frame) > len(values):
            notes.append(f"The first {len(values):,} of {len(read.frame):,} rows are explained; --limit {len(read.frame)} explains all.")
        with new_directory(output) as directory:
            write_explanations(
                explanation, values, directory, title=f"Explained predictions of {Path(read.source).name}", refused=refused, notes=notes
            )
    warn_if_all_refused(len(reasons), sum(map(bool, reasons)), next(filter(None, reasons), ""))
    typer.echo("\n".join(notes))
    for row, reason in refused.items():
        typer.echo(f"row {row} refused: {reason}")
    typer.echo(f"{len(values) - len(refused):,} molecules explained, {len(refused):,} refused: {output / 'index.html'}")
