"""The exit codes, as ``definition.EXIT_CODES`` tells them to people."""

from __future__ import annotations

DONE = 0
BROKEN = 1
NOT_COMPLETED = 3
GOES_ON = 4
ORPHANS = 5
INTERRUPTED = 130
