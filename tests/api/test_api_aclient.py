"""Asynchronous driver alone; the part that both drivers share is in test_api_drivers."""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from certificates import Certificates
from scripted_server import Gate, ScriptedServer, Then, http

from airflow_provider_xpander.api import routes
from airflow_provider_xpander.api.aclient import AsyncClient, tls_context
from airflow_provider_xpander.api.errors import XpanderServiceError
from airflow_provider_xpander.api.exchange import exchange
from airflow_provider_xpander.api.refusals import LARGE_BODY
from airflow_provider_xpander.api.retry import ONCE
from airflow_provider_xpander.api.settings import Settings

GET = routes.get_task("t-1")
TASK = http(200, {"id": "t-1", "status": "executing"})


@pytest.fixture(scope="module")
def tls() -> ssl.SSLContext:
    return tls_context(True)


async def test_calls_run_side_by_side(tls: ssl.SSLContext) -> None:
    gate = Gate()
    async with asyncio.timeout(10):
        with ScriptedServer([gate, TASK], TASK) as server:
            client = AsyncClient(Settings(base_url=server.url), tls=tls)
            held = asyncio.create_task(client.run(exchange(GET, ONCE)))
            await asyncio.to_thread(server.wait_for_requests, 1)
            assert (await client.run(exchange(GET, ONCE))).id == "t-1"
            assert not held.done()
            gate.open()
            assert (await held).id == "t-1"
            await client.close()


@pytest.mark.parametrize("size", [1000, LARGE_BODY], ids=["small", "large"])
async def test_a_large_body_is_not_parsed_in_the_event_loop(size: int, tls: ssl.SSLContext) -> None:
    """A page of 47 answers of 2 MB each held the loop, and so all triggers, for a second."""
    page = {"items": [{"id": "t-1", "status": "completed", "result": "x" * size}], "total_pages": 3}
    call = routes.poll_tasks("a", from_date=None, page=1)
    threads: list[int] = []

    def parse(body: Any) -> routes.RawPage:
        threads.append(threading.get_ident())
        return call.parse(body)

    async with asyncio.timeout(10):
        with ScriptedServer(http(200, page)) as server:
            client = AsyncClient(Settings(base_url=server.url), tls=tls)
            got = await client.run(exchange(replace(call, parse=parse), ONCE))
            await client.close()
    assert (threads == [threading.get_ident()]) is (size < LARGE_BODY)
    assert got == routes.RawPage([{"id": "t-1", "status": "completed"}], 3)


@pytest.mark.parametrize("body", [b'{"items": [' + b"1," * LARGE_BODY, b'["' + b"x" * LARGE_BODY + b'"]'])
async def test_a_large_body_that_is_not_the_api_s_is_an_error_of_the_service(
    body: bytes, tls: ssl.SSLContext
) -> None:
    async with asyncio.timeout(10):
        with ScriptedServer(http(200, body)) as server:
            client = AsyncClient(Settings(base_url=server.url), tls=tls)
            with pytest.raises(XpanderServiceError, match=rf"HTTP 200 with {len(body)} bytes"):
                await client.run(exchange(routes.poll_tasks("a", from_date=None, page=1), ONCE))
            await client.close()


async def test_many_calls_share_few_connections(tls: ssl.SSLContext) -> None:
    async with asyncio.timeout(20):
        with ScriptedServer(TASK) as server:
            client = AsyncClient(Settings(base_url=server.url), tls=tls)
            tasks = await asyncio.gather(*(client.run(exchange(GET, ONCE)) for _ in range(200)))
            await client.close()
    assert [task.id for task in tasks] == ["t-1"] * 200
    assert server.connections <= 16


async def test_a_call_can_be_cancelled(tls: ssl.SSLContext) -> None:
    async with asyncio.timeout(10):
        with ScriptedServer(Then.STALL) as server:
            client = AsyncClient(Settings(base_url=server.url), tls=tls)
            call = asyncio.create_task(client.run(exchange(GET, ONCE)))
            await asyncio.to_thread(server.wait_for_requests, 1)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await asyncio.to_thread(server.hung_up.wait, 5)
            await client.close()


async def test_only_the_own_requests_are_kept_out_of_the_log(
    tls: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    with ScriptedServer(TASK) as server, caplog.at_level(logging.DEBUG, logger="httpx"):
        client = AsyncClient(Settings(base_url=server.url), tls=tls)
        await client.run(exchange(GET, ONCE))
        await client.close()
        assert not [record for record in caplog.records if record.name == "httpx"]
        async with httpx.AsyncClient(verify=tls) as somebody_else:
            await somebody_else.get(server.url)
        assert [record for record in caplog.records if record.name == "httpx"]


@pytest.mark.parametrize("kind", ["file", "folder", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_the_authorities_of_a_tls_context(
    kind: str, certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify: bool | str = str(certificates.ca)
    if kind == "folder":
        verify = str(tmp_path)
    elif kind != "file":
        monkeypatch.setenv(kind, str(certificates.ca))
        verify = True
    context = tls_context(verify)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    # The authorities of a folder are loaded when they are needed.
    assert len(context.get_ca_certs()) == (0 if kind == "folder" else 1)


def test_a_tls_context_without_checks() -> None:
    context = tls_context(False)
    assert context.verify_mode is ssl.CERT_NONE
    assert not context.check_hostname
