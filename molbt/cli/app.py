"""The application that the commands attach to, and where its messages go."""

import logging
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from molbt import __version__


class _InOrderOfUse(TyperGroup):
    """List the commands in the order in which a person needs them."""

    def list_commands(self, ctx: Any) -> list[str]:
        order = ["demo", "pretrain", "featurize", "fit", "predict", "explain", "evaluate", "prepare", "export", "info", "data"]
        return sorted(super().list_commands(ctx), key=lambda name: order.index(name) if name in order else len(order))


app = typer.Typer(
    name="molbt",
    cls=_InOrderOfUse,
    help="Pretrain molecular encoders, featurize molecules, fit and judge predictors.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"molbt {__version__}")
        raise typer.Exit


@app.callback()
def _configure(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and debug messages.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show warnings and results only.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    context.obj = {"debug": debug, "quiet": quiet}
    level = logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    package_logger = logging.getLogger("molbt")
    package_logger.handlers, package_logger.propagate = [handler], False
    package_logger.setLevel(level)
