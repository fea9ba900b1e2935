"""The two drivers as one function each, for tests of what both promise."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, Protocol

from airflow_provider_xpander.api.aclient import AsyncClient, tls_context
from airflow_provider_xpander.api.client import Client
from airflow_provider_xpander.api.exchange import Steps, exchange
from airflow_provider_xpander.api.retry import ONCE, RetryPolicy
from airflow_provider_xpander.api.routes import Call
from airflow_provider_xpander.api.settings import Settings

Job = Call[Any] | Steps[Any]
Refresh = Callable[[], Settings] | None


class Driver(Protocol):
    """Carries out calls and conversations, one after the other, and returns the result of the last one."""

    def __call__(
        self, settings: Settings, *jobs: Job, policy: RetryPolicy = ONCE, refresh: Refresh = None
    ) -> Any: ...


def over_requests(settings: Settings, *jobs: Job, policy: RetryPolicy = ONCE, refresh: Refresh = None) -> Any:
    with Client(settings, policy=policy, refresh=refresh) as client:
        return [client.call(job) if isinstance(job, Call) else client.run(job) for job in jobs][-1]


def over_httpx(settings: Settings, *jobs: Job, policy: RetryPolicy = ONCE, refresh: Refresh = None) -> Any:
    async def refreshed(_: Settings) -> Settings:
        assert refresh is not None
        return refresh()

    async def main() -> Any:
        https = settings.base_url.startswith("https") or settings.proxy
        tls = tls_context(settings.verify) if https else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client = AsyncClient(settings, tls=tls, refresh=refreshed if refresh else None)
        try:
            steps = [exchange(job, policy) if isinstance(job, Call) else job for job in jobs]
            return [await client.run(conversation) for conversation in steps][-1]
        finally:
            await client.close()

    return asyncio.run(main())
