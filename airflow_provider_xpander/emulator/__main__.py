"""Command line of the emulator: ``python -m airflow_provider_xpander.emulator``."""

from __future__ import annotations

import argparse
import logging
import runpy
import signal
import sys
from collections.abc import Sequence

from airflow_provider_xpander.emulator.server import EmulatorServer
from airflow_provider_xpander.emulator.settings import DEFAULT_API_KEY, Settings
from airflow_provider_xpander.emulator.state import Emulator
from airflow_provider_xpander.emulator.stories import STORIES

_STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """
    Read the command line.

    :param arguments: of the command line, without the name of the program; None for those of the process.
    """
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_xpander.emulator",
        description="Run a local xpander.ai with a few agents and workflows.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", default=8090, type=int, help="0 takes a free one (default: %(default)s)")
    parser.add_argument(
        "--api-key",
        action="append",
        metavar="KEY",
        help=f"accepted key, may be repeated (default: {DEFAULT_API_KEY})",
    )
    parser.add_argument(
        "--run-seconds", default=1.0, type=float, help="length of a run (default: %(default)s)"
    )
    parser.add_argument("--speed", default=1.0, type=float, help="10: runs are ten times faster")
    for window in ("minute", "hour"):
        parser.add_argument(
            f"--requests-per-{window}",
            default=0,
            type=int,
            metavar="N",
            help="more are refused (default: no limit)",
        )
    parser.add_argument(
        "--story", action="append", default=[], choices=STORIES, metavar="NAME", help=", ".join(STORIES)
    )
    parser.add_argument(
        "--setup",
        metavar="FILE",
        help="Python file with a function setup(emulator), which registers agents or changes anything else",
    )
    parser.add_argument("--lenient", action="store_true", help="ignore unknown fields and query parameters")
    return parser.parse_args(arguments)


def set_up(emulator: Emulator, path: str) -> None:
    """
    Let a Python file arrange the emulator.

    :param emulator: the emulator.
    :param path: of the file.
    :raises OSError: there is no such file.
    :raises LookupError: it has no function ``setup``.
    """
    names = runpy.run_path(path)
    if not callable(names.get("setup")):
        raise LookupError(f"{path} has no function setup(emulator)")
    names["setup"](emulator)


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Serve until SIGINT or SIGTERM comes.

    :param arguments: of the command line, without the name of the program; None for those of the process.
    """
    asked = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    # Blocked in every thread, so that they stay pending until sigwait takes them.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    settings = Settings(
        api_keys=asked.api_key or [DEFAULT_API_KEY],
        run_seconds=asked.run_seconds,
        speed=asked.speed,
        requests_per_minute=asked.requests_per_minute,
        requests_per_hour=asked.requests_per_hour,
        strict=not asked.lenient,
    )
    emulator = Emulator(settings)
    for name in asked.story:
        emulator.story(name)
    try:
        if asked.setup:
            set_up(emulator, asked.setup)
        with EmulatorServer(emulator, host=asked.host, port=asked.port) as server:
            print(f"xpander.ai emulator on {server.url} (API key: {server.api_key})", flush=True)
            signal.sigwait(_STOP_SIGNALS)
    except (ImportError, OSError, LookupError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
