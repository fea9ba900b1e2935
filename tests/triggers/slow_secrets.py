"""A secrets backend that takes its time, in the blocking way that real ones do."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.secrets.base_secrets import BaseSecretsBackend

if TYPE_CHECKING:
    # Not at run time: a process that measures the loop must not have the whole provider imported.
    from airflow_side import Service


class SlowSecrets(BaseSecretsBackend):
    """Holds one connection, ``vaulted``."""

    # From the environment where it is used in a process of its own.
    seconds: ClassVar[float] = float(os.environ.get("SLOW_SECRETS_SECONDS", "0.3"))
    value: ClassVar[str] = os.environ.get("SLOW_SECRETS_VALUE", "")
    reads: ClassVar[int] = 0
    use: ClassVar[dict[str, str]] = {"xpander_conn_id": "vaulted"}

    @classmethod
    def prepare(cls, service: Service, *, seconds: float, **changes: Any) -> None:
        """Take a connection to the emulator, and the time that reading it takes."""
        cls.value, cls.seconds, cls.reads = cls.value_for(service, **changes), seconds, 0

    @staticmethod
    def value_for(service: Service, **changes: Any) -> str:
        """Return a connection to the emulator as the backend holds it."""
        from airflow_side import connection_json

        return connection_json(service.server, **changes)

    def get_conn_value(self, conn_id: str, team_name: str | None = None) -> str | None:
        """Return the connection, late."""
        if conn_id != "vaulted":
            return None
        type(self).reads += 1
        time.sleep(self.seconds)
        return self.value
