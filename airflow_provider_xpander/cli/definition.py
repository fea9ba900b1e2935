"""
The commands: names, arguments and help, for ``xpander-airflow`` and for ``airflow xpander``.

Airflow imports this module each time that anybody runs any of its commands, so it imports nothing heavy.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

GROUP_HELP = "Check the xpander.ai connection; start, follow, list and stop runs; find orphans"

EXIT_CODES = """exit codes:
  0    done
  1    the service or the connection does not work; check: something does not work
  2    the command line is wrong
  3    the run did not complete, or could not be stopped
  4    the run goes on: its end was not waited for any longer
  5    orphans: there are some, and they were not stopped
  130  interrupted; a run goes on"""

_STATUSES = ("pending", "executing", "paused", "completed", "failed", "error", "stopped")
_IN_WORDS = f"{', '.join(_STATUSES[:-1])} or {_STATUSES[-1]}"
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True)
class Argument:
    """
    One argument of a command.

    :param flags: its names.
    :param settings: what argparse has to know besides.
    """

    flags: tuple[str, ...]
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Command:
    """
    One command; ``airflow_provider_xpander.cli.<name>.run`` carries it out.

    :param name: its name.
    :param help: one line.
    :param arguments: its own arguments.
    """

    name: str
    help: str
    arguments: tuple[Argument, ...]


class JsonOutput(argparse.Action):
    """``--json``: short for ``--output json``."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """
        Choose JSON.

        :param parser: the parser.
        :param namespace: the arguments so far.
        :param values: none.
        :param option_string: the flag.
        """
        namespace.output = "json"


def duration(text: str) -> timedelta:
    """
    Read a length of time, such as ``90s``, ``30m``, ``24h`` or ``7d``.

    :param text: a number and its unit.
    :raises argparse.ArgumentTypeError: it is no length of time.
    """
    found = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"a length of time such as 30m, 24h or 7d, not {text!r}")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def positive(text: str) -> float:
    """
    Read a number of seconds, or of anything, that is greater than 0.

    :param text: the number.
    :raises argparse.ArgumentTypeError: it is none.
    """
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"a number greater than 0, not {text!r}")
    return number


def _argument(*flags: str, **settings: Any) -> Argument:
    return Argument(flags, settings)


_COMMON = (
    _argument(
        "--conn-id", default="xpander_default", help="id of the Airflow connection (default: xpander_default)"
    ),
    _argument(
        "-o",
        "--output",
        choices=("table", "json", "yaml"),
        default="table",
        metavar="(table, json, yaml)",
        help="form of the output (default: table)",
    ),
    # The default is that of --output: which of the two comes first is not for us to say under Airflow.
    _argument(
        "--json", action=JsonOutput, nargs=0, dest="output", default="table", help="short for --output json"
    ),
)
_RUN = _argument("xpander_task_id", help="id of the run")
_AGENT = _argument("--agent", metavar="ID", help="only runs of this agent or workflow")
_WAIT = (
    _argument(
        "--timeout",
        type=positive,
        metavar="SECONDS",
        help="wait no longer; the run goes on (default: no limit)",
    ),
    _argument(
        "--poll-interval",
        type=positive,
        default=10.0,
        metavar="SECONDS",
        help="time between two looks at the run (default: 10)",
    ),
)

COMMANDS: tuple[Command, ...] = (
    Command(
        "check",
        "Tell whether the connection works: key, host, proxy, TLS, clock, limits, marks, an agent",
        (
            _argument("--agent", metavar="ID", help="tell whether this agent is visible"),
            _argument("--workflow", metavar="ID", help="tell whether this workflow is visible"),
            _argument("--invoke", metavar="AGENT", help="make one tiny run of this agent, which is paid for"),
            _argument(
                "--timeout",
                type=positive,
                default=120.0,
                metavar="SECONDS",
                help="of the run of --invoke, which is stopped then (default: 120)",
            ),
        ),
    ),
    Command(
        "invoke",
        "Start a run of an agent, wait for its end, and print its answer",
        (
            _argument("target_id", metavar="agent_id", help="the agent, or with --workflow the workflow"),
            _argument("text", help="what to ask; - reads it from the standard input"),
            _argument("--workflow", action="store_true", help="the id is that of a workflow"),
            _argument("--version", metavar="VERSION", help="version to run (default: the latest)"),
            _argument("--title", metavar="TITLE", help="title of the run in the console"),
            _argument("--thread-id", metavar="ID", help="thread to continue"),
            _argument("--no-wait", action="store_true", help="print the id of the run, and do not wait"),
            *_WAIT,
        ),
    ),
    Command("tail", "Follow a run until its end", (_RUN, *_WAIT)),
    Command(
        "get",
        "Show a run",
        (_RUN, _argument("--thread", action="store_true", help="show the messages of its thread")),
    ),
    Command(
        "ls",
        "List the runs that this Airflow has started, newest first",
        (
            _argument(
                "--since",
                type=duration,
                default=timedelta(hours=24),
                metavar="TIME",
                help="runs that are not older, such as 30m, 24h, 7d (default: 24h)",
            ),
            _AGENT,
            _argument(
                "--status", choices=_STATUSES, metavar="STATUS", help=f"only runs that are {_IN_WORDS}"
            ),
            _argument(
                "--limit",
                type=positive,
                default=50.0,
                metavar="N",
                help="show N runs at the most (default: 50)",
            ),
            _argument("--all", action="store_true", help="runs of anybody; does not ask Airflow's database"),
        ),
    ),
    Command(
        "stop",
        "Stop runs",
        (_argument("xpander_task_ids", nargs="+", metavar="xpander_task_id", help="the runs"),),
    ),
    Command(
        "orphans",
        "List the runs of this Airflow that go on although no live task instance waits for them",
        (
            _argument(
                "--since",
                type=duration,
                default=timedelta(days=7),
                metavar="TIME",
                help="runs that are not older, such as 24h (default: 7d)",
            ),
            _AGENT,
            _argument("--stop", action="store_true", help="stop the orphans, after showing them"),
            _argument(
                "--left",
                action="store_true",
                help="take for orphans, too, the runs whose task has succeeded without waiting for them",
            ),
        ),
    ),
)


def arguments_of(command: Command) -> tuple[Argument, ...]:
    """
    Return all arguments of a command.

    :param command: the command.
    """
    return (*command.arguments, *_COMMON)


def get_airflow_commands() -> list[Any]:
    """Return the commands in the form of Airflow's own, for ``cli`` in the provider info (Airflow 3.2+)."""
    from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand

    return [
        GroupCommand(
            name="xpander",
            help=GROUP_HELP,
            subcommands=tuple(
                ActionCommand(
                    name=command.name,
                    help=command.help,
                    func=_carry_out(command.name),
                    args=tuple(
                        Arg(given.flags, **given.settings)  # type: ignore[no-untyped-call]
                        for given in arguments_of(command)
                    ),
                    epilog=EXIT_CODES,
                )
                for command in COMMANDS
            ),
        )
    ]


def _carry_out(name: str) -> Callable[[argparse.Namespace], None]:
    def command(arguments: argparse.Namespace) -> None:
        from airflow_provider_xpander.cli.main import execute

        # Airflow ignores what a command returns.
        sys.exit(execute(name, arguments))

    command.__name__ = f"xpander_{name}"
    return command
