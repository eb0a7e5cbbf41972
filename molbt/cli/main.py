"""The command line: the application, its exit codes, and where messages go.

Exit codes: 0 done, 1 a run or its data failed, 2 usage or configuration, 130 interrupted after saving. Tracebacks only with ``--debug``.
"""

import logging
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from molbt import __version__
from molbt.errors import ConfigError, Interrupted, MolbtError

# Typer carries its own copy of click in some versions and uses the package in others; the base of its public exception is right in both.
_UsageError: type[Any] = typer.BadParameter.__mro__[2]


class _InOrderOfUse(TyperGroup):
    """List the commands in the order in which a person needs them."""

    def list_commands(self, ctx: Any) -> list[str]:
        order = ["demo", "pretrain", "featurize", "fit", "predict", "evaluate", "prepare", "info"]
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


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code (what tests call)."""
    _register()
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    try:
        # --debug may stand anywhere; the application itself takes it in front of the command.
        ordered = ["--debug", *(a for a in arguments if a != "--debug")] if debug else arguments
        code = app(ordered, standalone_mode=False)
        return code if isinstance(code, int) else 0
    except typer.Abort:
        return _fail("interrupted", 130, debug)
    except typer.Exit as stop:
        return stop.exit_code
    except _UsageError as error:  # type: ignore[misc]
        error.show()
        return 2
    except Interrupted as error:
        return _fail(str(error), 130, debug)
    except ConfigError as error:
        return _fail(str(error), 2, debug)
    except MolbtError as error:
        return _fail(str(error), 1, debug)
    except KeyboardInterrupt:
        return _fail("interrupted before anything could be saved", 130, debug)
    except OSError as error:
        return _fail(str(error), 1, debug)


def _fail(message: str, code: int, debug: bool) -> int:
    if debug:
        logging.getLogger("molbt").exception("traceback")
    typer.echo(f"molbt: {' '.join(message.split())}", err=True)
    return code


def _register() -> None:
    """Attach the commands; their modules import the heavy packages inside the functions."""
    from molbt.cli import evaluating, featurizing, pretraining  # noqa: F401
