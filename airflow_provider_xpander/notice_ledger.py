"""
The ledger of notices: what notifiers on this machine have told in the last hour, one file for an agent.

When hundreds of tasks fail in one moment, their processes do not see each other's runs in the list yet. A
file under a lock shows each the others on the machine, and costs no request. Other machines are seen in the
list.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import time
from pathlib import Path

HOUR = 3600.0
LOCK_PATIENCE = 1.0
"""Seconds that another process may hold the lock; it takes milliseconds."""


def ledger_path(*key: str) -> Path:
    """
    Return the file of an agent, in a folder of this user's own.

    :param key: the address of the service, and the agent.
    """
    folder = Path(tempfile.gettempdir()) / f"airflow-xpander-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} is not this user's own folder")
    return folder / f"notices-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}"


def claim(path: Path, digest: str, most: int) -> int | None:
    """
    Note a notice that is about to be sent.

    :param path: the ledger.
    :param digest: of the notice.
    :param most: notices that are allowed in an hour.
    :return: None if it is noted now; else how many are in the ledger, 0 if this one is among them.
    :raises OSError: the ledger cannot be used.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "r+", encoding="ascii", errors="replace") as ledger:
        _lock(ledger.fileno())
        now = time.time()
        noted = [line.split() for line in ledger]
        fresh = [(at, told) for at, told in (one for one in noted if len(one) == 2) if _is_fresh(at, now)]
        if any(told == digest for _, told in fresh):
            return 0
        if len(fresh) >= most:
            return len(fresh)
        ledger.seek(0)
        ledger.truncate()
        ledger.writelines(f"{at} {told}\n" for at, told in [*fresh, (f"{now:.0f}", digest)])
    return None


def _is_fresh(at: str, now: float) -> bool:
    return at.isdigit() and now - HOUR < float(at) <= now + HOUR


def _lock(file: int) -> None:
    until = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
            time.sleep(0.01)
        else:
            return
