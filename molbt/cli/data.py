"""Commands for public data sets: ``data list``, ``data get``, ``data verify``, ``data pairs``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from molbt.cli.app import app
from molbt.cli.options import RandomState

if TYPE_CHECKING:
    from molbt.data.catalogue import DataSet

data = typer.Typer(name="data", help="List, get and check public data sets.", no_args_is_help=True)
app.add_typer(data)

Names = Annotated[list[str] | None, typer.Argument(help="Names as `molbt data list` prints them.")]
Folder = Annotated[
    Path | None,
    typer.Option("--data-dir", help="The data folder; else the variable MOLBT_DATA, else the one that is there or in the cache."),
]


@data.command("list")
def list_() -> None:
    """Print every data set with its size and licence."""
    from molbt.data.catalogue import catalogue

    for data_set in catalogue().values():
        typer.echo(f"{data_set.name:<20}{data_set.size / 1e6:>7.2f} MB{data_set.rows:>10} rows  {data_set.title}")
        typer.echo(f"{'':<20}licence: {data_set.licence}")
        typer.echo(f"{'':<20}origin: {data_set.origin}")


@data.command()
def get(
    names: Names = None,
    data_dir: Folder = None,
    source: Annotated[Path | None, typer.Option("--from", help="Another data folder, to copy from where it has them.")] = None,
    accept_unverified: Annotated[
        bool, typer.Option("--accept-unverified", help="Fetch from an origin although the checksum of what is there is unknown.")
    ] = False,
) -> None:
    """Bring data sets into the data folder, copied from another or fetched from their origin, and check them."""
    from molbt.data.fetching import get as get_data_set
    from molbt.data.sources import find_data_dir, own_data_dir
    from molbt.errors import DataError

    wanted = _named(names)
    folder = data_dir or find_data_dir() or own_data_dir()
    if source is not None and not source.is_dir():
        raise DataError(f"expected a folder at {source}, named by --from, found none; correct the path")
    for data_set in wanted:
        get_data_set(data_set, folder, source=source, accept_unverified=accept_unverified, progress=typer.echo)
        typer.echo(f"{data_set.name}: in {folder}; licence: {data_set.licence}")


@data.command()
def verify(names: Names = None, data_dir: Folder = None) -> None:
    """Compare the files in a data folder with their checksums; without names, all data sets that are there."""
    from molbt.data.catalogue import catalogue
    from molbt.data.catalogue import verify as verify_data_set
    from molbt.data.sources import data_dir as find_data
    from molbt.errors import DataError

    folder = find_data(data_dir)
    bad = []
    for data_set in _named(names) if names else catalogue().values():
        states = verify_data_set(data_set, folder)
        if not names and set(states.values()) == {"missing"}:
            continue
        counts = ", ".join(f"{list(states.values()).count(state)} {state}" for state in sorted(set(states.values())))
        typer.echo(f"{data_set.name}: {counts}")
        bad += [f"{path} {state}" for path, state in states.items() if state in ("differs", "missing")]
    if bad:
        shown = ", ".join(bad[:5]) + (f" and {len(bad) - 5} more" if len(bad) > 5 else "")
        raise DataError(
            f"expected every file in {folder} to have its checksum, found {shown}; move these away and run: molbt data get NAME"
        )


@data.command()
def pairs(
    output: Annotated[Path, typer.Option("--output", "-o", help="The table: csv, tsv or parquet.")],
    table: Annotated[Path | None, typer.Argument(help="Labelled molecules of your own, for --partners; FS-Mol's by default.")] = None,
    part: Annotated[str | None, typer.Option("--part", help="Of FS-Mol: train (the default), valid or test.")] = None,
    actives: Annotated[bool, typer.Option("--actives", help="Only molecules that are active, with the text of their task.")] = False,
    partners: Annotated[
        int,
        typer.Option("--partners", min=0, help="Pair each active with so many other actives of its task, instead of with the task's text."),
    ] = 0,
    inactives: Annotated[bool, typer.Option("--inactives", help="With --partners: also with as many inactives, as label 0.")] = False,
    smiles_column: Annotated[str | None, typer.Option("--smiles-column", help="Of your own table; smiles by default.")] = None,
    task_column: Annotated[str | None, typer.Option("--task-column", help="Of your own table: the assay; task by default.")] = None,
    label_column: Annotated[
        str | None, typer.Option("--label-column", help="Of your own table: 1 for active, 0 for inactive; label by default.")
    ] = None,
    random_state: RandomState = 0,
    data_dir: Folder = None,
) -> None:
    """Write a table of pairs to pretrain on: molecules and the text of their task, or active molecules of one task."""
    from molbt.data.active_pairs import active_pairs, measured_rows
    from molbt.data.fs_mol import FSMolData
    from molbt.data.fs_mol_pairs import labelled_pairs
    from molbt.data.sources import data_dir as find_data
    from molbt.data.tables import output_format, write_table
    from molbt.errors import ConfigError

    output_format(output)
    if actives and partners:
        raise ConfigError("--actives is for pairs of molecules and texts, received --partners as well; leave one of them out")
    if not partners and (inactives or table is not None):
        given = "--inactives" if inactives else "a table"
        raise ConfigError(f"{given} is for pairs of molecules, received no --partners; add --partners 2")
    columns = {"--smiles-column": smiles_column, "--task-column": task_column, "--label-column": label_column}
    idle = [option for option, value in columns.items() if value is not None] if table is None else ["--part"] if part is not None else []
    if idle:
        owner, source = ("a table of your own", "FS-Mol") if table is None else ("FS-Mol", f"{table}")
        raise ConfigError(f"{idle[0]} is for {owner}, received the rows of {source}; leave it out")
    if table is None:
        rows = labelled_pairs(FSMolData(find_data(data_dir) / "fs-mol"), part or "train")
    else:
        rows = measured_rows(table, smiles=smiles_column or "smiles", task=task_column or "task", label=label_column or "label")
    if not partners:
        rows = rows[rows["label"] == 1] if actives else rows
        write_table(rows, output)
        typer.echo(f"{len(rows):,} labelled rows of {rows['task'].nunique():,} tasks, {rows['text'].nunique():,} texts: {output}")
        return
    found = active_pairs(rows, partners=partners, inactives=inactives, random_state=random_state)
    write_table(found, output)
    n_active = int((found["label"] == 1).sum())
    apart = f", {len(found) - n_active:,} of an active and an inactive" if inactives else ""
    typer.echo(f"{n_active:,} pairs of actives{apart}, of {found['task'].nunique():,} tasks: {output}")


def _named(names: list[str] | None) -> "list[DataSet]":
    from molbt.data.catalogue import find_data_set
    from molbt.errors import ConfigError

    if not names:
        raise ConfigError("expected names of data sets, got none; see molbt data list")
    return [find_data_set(name) for name in names]
