"""
The cost of a stream event to the worker that reads it: CPU time of each layer, in microseconds.

Usage: ``python -m benchmarks.stream_events [events]``. A process of its own sends the events as fast as they
are taken, over HTTP on 127.0.0.1; each layer reads the same stream anew.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, HTTPServer
from multiprocessing.connection import Connection
from tempfile import TemporaryFile

import requests

from airflow_provider_xpander.api import routes
from airflow_provider_xpander.api.client import Client
from airflow_provider_xpander.api.models import InvokeRequest, StreamEvent, Target
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.api.stream import with_ticks
from airflow_provider_xpander.runs.log.stream_log import Narrator

TASK = "11111111-1111-4111-8111-111111111111"
CALL = {"request_id": "r", "operation_id": "op", "tool_call_id": "c", "tool_name": "search_tickets"}
# What an agent sends most: fragments of text, and now and then a thought and a tool call.
MIX = [
    *(("chunk", "some words of the answer ") for _ in range(16)),
    ("chunk", "and the end of a line.\n"),
    ("think", "Similar tickets may exist, so I look for them first."),
    ("tool_call_request", {**CALL, "payload": {"query": "load failed", "limit": 5}}),
    ("tool_call_result", {**CALL, "result": {"found": 2, "tickets": ["OPS-17", "OPS-23"]}}),
]
INVOKE = routes.invoke_stream(Target.agent("a"), InvokeRequest(input="hi"))


def _frames(count: int) -> bytes:
    events = []
    for number in range(count):
        type_, data = MIX[number % len(MIX)]
        event = {"type": type_, "task_id": TASK, "organization_id": "o", "time": "2026-11-22T06:00:00Z"}
        events.append(f"data: {json.dumps({**event, 'data': data})}\n\n".encode())
    return b"".join(events)


def _serve(body: bytes, tell: Connection) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    tell.send(server.server_port)
    server.serve_forever()


def _narrated(
    events: Iterable[StreamEvent | None], log: logging.Logger, mask: Callable[[str], str] = str
) -> int:
    narrator = Narrator(TASK, mask)
    narrator._budget.left = sys.maxsize  # every event is told, so that every event is measured
    lines = 0
    for event in events:
        for line in narrator.feed(event) if event else ():
            lines += 1
            log.info("%s", line.text)
    return lines


def _measure(name: str, count: int, read: Callable[[], object]) -> None:
    began, cpu = time.perf_counter(), time.process_time()
    read()
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(f"{name:<40} {cpu / count * 1e6:8.1f} us CPU {wall / count * 1e6:8.1f} us wall")


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    ours, theirs = multiprocessing.Pipe()
    body = _frames(count)
    server = multiprocessing.Process(target=_serve, args=(body, theirs), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ours.recv()}"
    settings = Settings(base_url=url, api_key="k" * 20)
    log = logging.getLogger("stream")
    log.propagate, log.level = False, logging.INFO
    with TemporaryFile("w") as file, Client(settings) as client:
        handler = logging.StreamHandler(file)
        handler.setFormatter(
            logging.Formatter("[%(asctime)s] {%(filename)s:%(lineno)d} %(levelname)s - %(message)s")
        )
        log.addHandler(handler)
        print(f"{count} events of {len(body) // count} bytes, per event:")
        _measure("bytes alone", count, lambda: requests.post(url, json={}, timeout=60).content)
        _measure("+ events (sseclient, JSON, envelope)", count, lambda: list(client.stream(INVOKE)))
        _measure("+ ticks (thread)", count, lambda: list(with_ticks(client.stream(INVOKE), 0.5)))
        _measure(
            "+ narration, log file", count, lambda: _narrated(with_ticks(client.stream(INVOKE), 0.5), log)
        )
        from airflow_provider_xpander._compat import mask_secret, masked

        mask_secret("a secret of the connection")
        events = with_ticks(client.stream(INVOKE), 0.5)
        _measure("+ Airflow's masker", count, lambda: _narrated(events, log, masked))
    server.kill()


if __name__ == "__main__":
    main()
