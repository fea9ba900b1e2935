"""The guard against real calls: a test that would call a real xpander.ai is refused, and fails."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from types import TracebackType
from urllib.parse import urlsplit

import pytest

from airflow_provider_xpander.api.errors import XpanderValidationError
from airflow_provider_xpander.api.settings import Settings

IN_PROCESS = "xpander.emulator"
"""The host of an emulator without a socket (``emulator/in_process.py``); no server can have that name."""


class NetworkGuard:
    """
    Lets this package's clients reach this machine only, as a context manager.

    :param allowed: the settings of one service that may be called all the same, None for none.
    """

    def __init__(self, allowed: Settings | None = None) -> None:
        self.refused: list[str] = []
        self._allowed = allowed
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> NetworkGuard:
        """Begin to refuse."""
        headers = Settings.headers

        def guarded(settings: Settings) -> Mapping[str, str]:
            # Each request of both drivers asks for its headers, which hold the key.
            if settings is not self._allowed and not is_local(settings.base_url):
                self.refused.append(f"{settings.base_url} ({settings.name})")
                raise XpanderValidationError(
                    f"A test would call a real xpander.ai: {self.refused[-1]}. Nothing was sent."
                )
            return headers(settings)

        self._patch.setattr(Settings, "headers", guarded)
        return self

    def close(self) -> None:
        """Refuse no longer."""
        self._patch.undo()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Refuse no longer."""
        self.close()

    def objection(self) -> str | None:
        """Return what was refused, once, or None."""
        refused, self.refused = self.refused, []
        if not refused:
            return None
        where = ", ".join(dict.fromkeys(refused))
        return (
            f"The test would have called a real xpander.ai: {where}. Use the connection "
            f"xpander_default, or xpander.connect(conn_id) for another one."
        )


def is_local(url: str) -> bool:
    """
    Whether a URL leads to this machine, or only to this process.

    :param url: the URL.
    """
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host in ("localhost", IN_PROCESS)
