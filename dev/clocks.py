"""A clock of its own for a process: the time that libfaketime tells it, and whatever it starts."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


class NoClock(Exception):
    """No clock but the machine's can be had here; the message says why."""


def clock_environment(gap: int) -> dict[str, str]:
    """
    Return the environment of a process whose clock is wrong. Time-outs and the times of files stay right.

    :param gap: seconds by which it is ahead; below 0, behind.
    :raises NoClock: libfaketime is not there.
    """
    spec = find_spec("libfaketime")
    if spec is None or spec.origin is None:
        raise NoClock("a clock of its own needs libfaketime, see requirements/cluster.in")
    # Not Debian's: under version 0.9.10, a sleep in Python fails.
    library = Path(spec.origin).with_name("vendor") / "libfaketime" / "src" / "libfaketime.so.1"
    return {"LD_PRELOAD": str(library), "FAKETIME": f"{gap:+d}s", "DONT_FAKE_MONOTONIC": "1"}
