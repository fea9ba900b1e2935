"""The progress of a command, for people: lines on the standard error, where no output is."""

from __future__ import annotations

import sys


class Progress:
    """The log of a wait (``runs/log/status_log.py``), on the standard error."""

    def info(self, message: str, /, *args: object) -> None:
        """
        Write a line.

        :param message: with ``%`` places.
        :param args: what goes there.
        """
        print(message % args if args else message, file=sys.stderr, flush=True)

    warning = info
