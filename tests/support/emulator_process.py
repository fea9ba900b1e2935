"""The emulator as a process of its own, by its command line."""

from __future__ import annotations

import re
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

COMMAND = [sys.executable, "-m", "airflow_provider_xpander.emulator"]
LINE = re.compile(r"xpander\.ai emulator on (http://127\.0\.0\.1:\d+) \(API key: (\S+)\)\n")


@contextmanager
def emulator(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """
    Start it on a free port; gives the process, the URL and the API key.

    :param arguments: further ones of the command line.
    """
    process = subprocess.Popen(
        [*COMMAND, "--port", "0", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], 30)
        assert ready, "no line in time"
        found = LINE.fullmatch(process.stdout.readline())
        assert found
        yield process, found[1], found[2]
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=10)
