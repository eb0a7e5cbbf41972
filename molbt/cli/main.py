"""Running the command line, and its exit codes.

0 done, 1 a run or its data failed, 2 usage or configuration, 130 interrupted after saving. Tracebacks only with ``--debug``.
"""

import logging
import sys
from typing import Any

import typer

from molbt.cli import adapting, data, demonstrating, evaluating, explaining, featurizing, fitting, predicting, pretraining, zero_shot  # noqa: F401  # each attaches its commands to the application
from molbt.cli.app import app
from molbt.errors import ConfigError, Interrupted, MolbtError

# Typer carries its own copy of click in some versions and uses the package in others; the base of its public exception is right in both.
_UsageError: type[Any] = typer.BadParameter.__mro__[2]

_OF_EVERY_COMMAND = ("--debug", "--quiet", "-q")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code (what tests call)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    # These may stand anywhere; the application itself takes them in front of the command.
    ordered = sorted(arguments, key=lambda argument: argument not in _OF_EVERY_COMMAND)
    try:
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
        return _fail("interrupted; run the same command again, what is finished is not done twice", 130, debug)
    except OSError as error:
        what = f"cannot use {error.filename}: {error.strerror}; check the path, its permissions and the space left"
        return _fail(what if error.filename is not None else str(error), 1, debug)


def _fail(message: str, code: int, debug: bool) -> int:
    if debug:
        logging.getLogger("molbt").exception("traceback")
    typer.echo(f"molbt: {' '.join(message.split())}", err=True)
    return code
