"""The command ``explain``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from molbt.cli.app import app
from molbt.cli.options import Device, Format, Jobs, SmilesColumn, is_quiet
from molbt.cli.progress import progress
from molbt.cli.rows import reasons_of_refusal, warn_if_all_refused

if TYPE_CHECKING:
    from molbt.predict.zero_shot import ZeroShotPredictor


@app.command()
def explain(
    context: typer.Context,
    table: Annotated[Path, typer.Argument(help="A table of molecules; - is standard input.")],
    predictor: Annotated[Path, typer.Option("--predictor", help="A directory of molbt fit, or of molbt calibrate --head lightgbm.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory of the drawings, the table and the page.")],
    text: Annotated[str | None, typer.Option("--text", help="Description of an assay, for a predictor of molbt calibrate.")] = None,
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
    """Draw what each atom contributed to a prediction: an SVG per molecule, a table of contributions, and a page with all of it.

    With --text: what molecule, text and their interactions contributed, and the training pairs and assays that share most leaves.
    """
    from molbt.data.files import check_new_directory, new_directory
    from molbt.data.tables import read_table, require_column
    from molbt.errors import ConfigError
    from molbt.predict.explain import explain as explain_head
    from molbt.predict.predictor import Predictor
    from molbt.predict.saved_zero_shot import is_zero_shot, load_zero_shot
    from molbt.report.explanation_page import share_on_atoms, write_explanations

    check_new_directory(output)
    if is_zero_shot(predictor):
        paired = load_zero_shot(predictor, n_jobs=jobs, device=device)
        paired.explainable()
        if text is None:
            raise ConfigError(
                f"expected --text TEXT for {predictor}, which works from descriptions of assays, received none; describe the assay in a "
                "sentence or two"
            )
        if target is not None or method != "auto":
            raise ConfigError(
                f"expected neither --target nor --method for {predictor}, which has one score and one way to explain it, received "
                f"{'--target ' + target if target is not None else '--method ' + method}; leave it out"
            )
        _explain_pairs(context, table, paired, text, output, limit, smiles_column or "smiles", format)
        return
    if text is not None:
        raise ConfigError(f"expected a predictor of molbt calibrate for --text, {predictor} is none; leave --text out for one of molbt fit")
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


def _explain_pairs(
    context: typer.Context,
    table: Path,
    loaded: "ZeroShotPredictor",
    text: str,
    output: Path,
    limit: int,
    column: str,
    format: str | None,
) -> None:
    """``explain`` for a predictor of ``molbt calibrate`` and one description."""
    import numpy as np

    from molbt.data.files import new_directory
    from molbt.data.tables import read_table, require_column
    from molbt.report.pair_explanation_page import write_pair_explanations

    with progress(quiet=is_quiet(context)) as display:
        read = read_table(table, format=format)
        require_column(read.frame.columns, column, read.source, "--smiles-column")
        values = ["" if row in read.problems else value for row, value in enumerate(read.frame[column].tolist()[:limit])]
        display("explaining", 0, len(values))
        explanations = loaded.explain(values, text)
        display("explaining", len(values), len(values))
        featurizer = loaded.featurizer.molecules_
        refused = {row: read.problems.get(row) or reason for row, reason in enumerate(featurizer.reasons_) if reason}
        nearest = loaded.nearest_assay([text]).iloc[0]
        notes = [
            f"Assay: {text}",
            f"Nearest known assay: {nearest['nearest_assay']} (cosine {nearest['nearest_assay_cosine']:.2f}).",
            loaded.ranking.line() + ".",
            "The parts molecule and text are the twin's two embeddings; product, difference and cosine are made of both. With the base "
            "they add up to the log-odds, which calibration turns into the probability. Shared leaves tell which training pairs the trees "
            "treat alike, not why.",
        ]
        if len(read.frame) > len(values):
            notes.append(f"The first {len(values):,} of {len(read.frame):,} rows are explained; --limit {len(read.frame)} explains all.")
        log_odds = np.array([np.nan if found is None else found.log_odds for found in explanations])
        with new_directory(output) as directory:
            write_pair_explanations(
                explanations,
                values,
                loaded.sigmoid(log_odds),
                directory,
                title=f"Explained predictions of {Path(read.source).name}",
                refused=refused,
                notes=notes,
                policy=featurizer.policy_,
            )
    warn_if_all_refused(len(values), len(refused), next(iter(refused.values()), ""))
    typer.echo("\n".join(notes))
    for row, reason in refused.items():
        typer.echo(f"row {row} refused: {reason}")
    typer.echo(f"{len(values) - len(refused):,} molecules explained, {len(refused):,} refused: {output / 'index.html'}")
