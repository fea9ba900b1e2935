"""
A small HTTPS server that speaks as much of three services as their waits need, in a process of its own.

It knows when each run ends, counts requests and TLS handshakes, and can enforce a limit of requests an hour.
All of its times are seconds of a clock that is ``speed`` times as fast as the real one.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import sys
import time
import zlib
from collections import Counter, deque
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

HELD = 1e11
"""Where runs are held: they go on until ``/_end`` draws their ends."""


class Service:
    """
    The runs, and what is asked about them.

    :param settings: of the measurement.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.speed: float = settings["speed"]
        self.origin: float = settings["origin"]
        self.order: str = settings.get("order", "updated")
        self.per_hour: int = settings.get("per_hour", 0)
        self.per_minute: int = settings.get("per_minute", 0)
        self.requests: Counter[str] = Counter()
        self.handshakes = 0
        self.refused = 0
        self.accepted: deque[float] = deque()
        self.settings = settings
        # One to warm up with, and those of the measurement, which begin when it does.
        self.runs: dict[str, tuple[float, float]] = {"warm": (self.now(), self.now() + 1e9)}
        self.numbers: dict[str, str] = {"0": "warm"}

    def begin(self) -> dict[str, tuple[float, float]]:
        """Let the runs begin; return them."""
        rng = random.Random(1)
        now = self.now()
        for index in range(self.settings.get("runs", 0)):
            run_id = f"{index + 1:08d}-0000-4000-8000-{rng.getrandbits(48):012x}"
            self.runs[run_id] = (now - rng.uniform(0, 5), now + rng.uniform(*self.settings["ends"]))
            self.numbers[str(index + 1)] = run_id
        for index in range(self.settings.get("history", 0)):
            begun = now - rng.uniform(400, 550)
            self.runs[f"old-{index}"] = (begun, begun + rng.uniform(1, 380))
        return self.runs

    def end(self) -> dict[str, tuple[float, float]]:
        """Draw from now on when the submitted runs end, which were held until now; return them."""
        rng, now = random.Random(1), self.now()
        for run_id, (begun, ends) in self.runs.items():
            if ends == HELD:
                self.runs[run_id] = (begun, now + rng.uniform(*self.settings["ends"]))
        return self.runs

    def now(self) -> float:
        """Return Unix seconds of the fast clock."""
        return self.origin + (time.time() - self.origin) * self.speed

    def answer(self, method: str, target: str, sent: bytes) -> tuple[int, Any, dict[str, str]]:
        """
        Answer a request: status, body, headers.

        :param method: HTTP method.
        :param target: path and query.
        :param sent: the body.
        """
        url = urlsplit(target)
        if url.path == "/_stats":
            return 200, self.stats(), {}
        if url.path == "/_begin":
            return 200, self.begin(), {}
        if url.path == "/_end":
            return 200, self.end(), {}
        now = self.now()
        if (room := self.too_many(now)) is not None:
            self.refused += 1
            return 429, {"detail": "Too many requests"}, {"Retry-After": f"{room:.0f}"}
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        parts = url.path.strip("/").split("/")
        if method == "POST" and parts[-1] == "async":
            return 200, self.item(self.submit(now), now), {}
        if parts[-2:] == ["runs", "submit"]:
            number = len(self.numbers)
            self.numbers[str(number)] = self.submit(now)
            return 200, {"run_id": number}, {}
        if url.path == "/v1/tasks":
            self.requests["list"] += 1
            return 200, self.page(query, now), {}
        if parts[:2] == ["v1", "tasks"]:
            self.requests["get"] += 1
            return 200, self.item(parts[2], now) | {"finished_at": self.finished(parts[2], now)}, {}
        if parts[-2:] == ["runs", "get"]:
            self.requests["get"] += 1
            asked = json.loads(sent) if sent else query
            return 200, self.databricks(str(asked["run_id"]), now), {}
        if "accounts" in parts:
            self.requests["get"] += 1
            over = now >= self.runs[self.numbers[parts[-1]]][1]
            return 200, {"data": {"id": int(parts[-1]), "status": 10 if over else 3}}, {}
        return 404, {"detail": "not found"}, {}

    def submit(self, now: float) -> str:
        """
        Begin a run and return its id.

        :param now: seconds of the fast clock.
        """
        self.requests["submit"] += 1
        run_id = f"{len(self.runs) + 1:08d}-0000-4000-8000-{random.getrandbits(48):012x}"
        self.runs[run_id] = (now, HELD if self.settings.get("held") else now + 600.0)
        return run_id

    def too_many(self, now: float) -> float | None:
        """
        Return the seconds after which there is room, if there is none now; take the room else.

        :param now: seconds of the fast clock.
        """
        while self.accepted and now - self.accepted[0] >= 3600:
            self.accepted.popleft()
        if self.per_hour and len(self.accepted) >= self.per_hour:
            return self.accepted[0] + 3600 - now
        if self.per_minute and len(self.accepted) >= self.per_minute:
            oldest = self.accepted[-self.per_minute]
            if now - oldest < 60:
                return oldest + 60 - now
        if self.per_hour:
            self.accepted.append(now)
        return None

    def item(self, run_id: str, now: float) -> dict[str, Any]:
        """
        Return a task as lists show it; the answer has the length of a short paragraph.

        :param run_id: the run.
        :param now: seconds of the fast clock.
        """
        begun, ends = self.runs[run_id]
        over = now >= ends
        return {
            "id": run_id,
            "agent_id": "agent-1",
            "organization_id": "00000000-0000-4000-8000-000000000001",
            "status": "completed" if over else "executing",
            "user_id": None,
            "parent_task_id": None,
            "triggering_agent_id": None,
            "created_at": stamp(begun),
            "updated_at": stamp(ends if over else begun),
            "source_node_type": "sdk",
            "result": "The load failed because the source had no rows. " * 8 if over else "",
            "title": f"nightly.ask manual__2026-11-01 [airflow 00112233445566778899 {run_id[:8]}]",
        }

    def finished(self, run_id: str, now: float) -> str | None:
        """
        Return when a run ended, if it has.

        :param run_id: the run.
        :param now: seconds of the fast clock.
        """
        ends = self.runs[run_id][1]
        return stamp(ends) if now >= ends else None

    def page(self, query: dict[str, str], now: float) -> dict[str, Any]:
        """
        Return a page of the list.

        :param query: the parameters.
        :param now: seconds of the fast clock.
        """
        since = datetime.fromisoformat(query["from_date"]).timestamp() if "from_date" in query else 0.0
        wanted = query.get("status")
        ids = [
            run_id
            for run_id, (begun, ends) in self.runs.items()
            if begun >= since and wanted in (None, "completed" if now >= ends else "executing")
        ]
        if self.order == "updated":
            ids.sort(key=lambda run_id: self.changed(run_id, now), reverse=True)
        elif self.order == "created":
            ids.sort(key=lambda run_id: self.runs[run_id][0], reverse=True)
        else:
            ids.sort(key=lambda run_id: zlib.crc32(run_id.encode()))
        number, size = int(query.get("page", 1)), int(query.get("per_page", 20))
        return {
            "items": [self.item(run_id, now) for run_id in ids[(number - 1) * size : number * size]],
            "total": len(ids),
            "page": number,
            "per_page": size,
            "total_pages": -(-len(ids) // size),
        }

    def changed(self, run_id: str, now: float) -> float:
        """
        Return when a run has changed last.

        :param run_id: the run.
        :param now: seconds of the fast clock.
        """
        begun, ends = self.runs[run_id]
        return ends if now >= ends else begun

    def databricks(self, number: str, now: float) -> dict[str, Any]:
        """
        Return a run as ``jobs/runs/get`` does, without its details.

        :param number: of the run.
        :param now: seconds of the fast clock.
        """
        over = now >= self.runs[self.numbers[number]][1]
        state = {"life_cycle_state": "RUNNING", "state_message": ""}
        if over:
            state = {"life_cycle_state": "TERMINATED", "result_state": "SUCCESS", "state_message": ""}
        return {"run_id": int(number), "job_id": 1, "state": state, "run_page_url": "https://x", "tasks": []}

    def stats(self) -> dict[str, Any]:
        """Return the counters."""
        return {"requests": dict(self.requests), "handshakes": self.handshakes, "refused": self.refused}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """
        Serve one connection as long as the client keeps it.

        :param reader: of the connection.
        :param writer: of the connection.
        """
        self.handshakes += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, target, _ = head[0].split(" ", 2)
                lengths = [line.split(":")[1] for line in head if line.lower().startswith("content-length:")]
                sent = await reader.readexactly(int(lengths[0])) if lengths else b""
                if target in ("/_stats", "/_begin", "/_end"):
                    self.handshakes -= 1
                status, body, headers = self.answer(method, target, sent)
                raw = json.dumps(body).encode()
                lines = [f"HTTP/1.1 {status} -", f"Content-Length: {len(raw)}"]
                lines += ["Content-Type: application/json", *(f"{k}: {v}" for k, v in headers.items())]
                writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + raw)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()


def stamp(moment: float) -> str:
    """
    Write Unix seconds as the service does.

    :param moment: Unix seconds.
    """
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


async def main() -> None:
    """Serve until standard input is closed; the first line of it has the settings, in JSON."""
    settings = json.loads(sys.stdin.readline())
    service = Service(settings)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(settings["cert"], settings["key"])
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0, ssl=context, backlog=4096)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
