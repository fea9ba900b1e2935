"""The command line's entry: reads the arguments, carries out a command, and gives its exit code."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import TextIO

from airflow_provider_xpander.cli.definition import COMMANDS, EXIT_CODES, GROUP_HELP, arguments_of
from airflow_provider_xpander.cli.exits import BROKEN, DONE, INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``xpander-airflow``."""
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="xpander-airflow", description=f"{GROUP_HELP}.", epilog=EXIT_CODES, formatter_class=shape
    )
    parsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        one = parsers.add_parser(
            command.name,
            help=command.help,
            description=f"{command.help}.",
            epilog=EXIT_CODES,
            formatter_class=shape,
        )
        for given in arguments_of(command):
            one.add_argument(*given.flags, **given.settings)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Carry out what the command line says, and return the exit code.

    :param arguments: of the command line, without the name of the program; None for those of the process.
    """
    parsed = build_parser().parse_args(arguments)
    return execute(parsed.command, parsed)


def execute(name: str, arguments: argparse.Namespace) -> int:
    """
    Carry out one command, and return the exit code.

    :param name: of the command.
    :param arguments: as they were parsed.
    """
    # As Airflow's own commands do it: else Airflow 3 looks for connections in the environment only.
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"
    out = sys.stdout
    # What else is written, such as log lines by Airflow's handlers, is not to get into the output.
    with contextlib.redirect_stdout(sys.stderr):
        command = importlib.import_module(f"airflow_provider_xpander.cli.{name}")
        _log_to_stderr(out)
        return _carried_out(command.run, arguments, out)


def _carried_out(
    run: Callable[[argparse.Namespace, TextIO], int], arguments: argparse.Namespace, out: TextIO
) -> int:
    from airflow_provider_xpander._compat import AirflowNotFoundException
    from airflow_provider_xpander.api.errors import XpanderError

    try:
        code = run(arguments, out)
        out.flush()
    except (XpanderError, AirflowNotFoundException, ValueError) as error:
        print(error, file=sys.stderr)
        return BROKEN
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe has enough; Python would complain once more as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        return DONE
    return code


def _log_to_stderr(out: TextIO) -> None:
    for handler in [*logging.getLogger().handlers, *logging.getLogger("airflow").handlers]:
        if isinstance(handler, logging.StreamHandler) and handler.stream is out:
            handler.setStream(sys.stderr)
