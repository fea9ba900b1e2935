"""Command line of the emulator: ``python -m airflow_provider_xpander.emulator``."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Sequence

from airflow_provider_xpander.emulator.server import EmulatorServer
from airflow_provider_xpander.emulator.settings import DEFAULT_API_KEY, Settings

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
    return parser.parse_args(arguments)


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
        api_keys=asked.api_key or [DEFAULT_API_KEY], run_seconds=asked.run_seconds, speed=asked.speed
    )
    try:
        with EmulatorServer(settings=settings, host=asked.host, port=asked.port) as server:
            print(f"xpander.ai emulator on {server.url} (API key: {server.api_key})", flush=True)
            signal.sigwait(_STOP_SIGNALS)
    except (ImportError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
