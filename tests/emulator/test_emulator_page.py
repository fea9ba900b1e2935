from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests
from emulator_api import Api

from airflow_provider_xpander.emulator import Emulator, EmulatorServer, ManualClock
from airflow_provider_xpander.emulator.status_page import status_page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
BROWSER_SECONDS = 60


def page_of(server: EmulatorServer) -> str:
    answer = requests.get(server.url + "/", timeout=10)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    return answer.text


def test_the_page_of_an_emulator_that_has_done_nothing(server: EmulatorServer, emulator: Emulator) -> None:
    page = page_of(server)
    assert "No runs yet." in page
    assert "Nobody has called." in page
    assert server.url in page
    assert emulator.calls == []  # a browser's look is no call of a client


def test_the_page_shows_runs_calls_and_switches(
    api: Api, server: EmulatorServer, emulator: Emulator, clock: ManualClock
) -> None:
    emulator.configure({"list_lag_seconds": 77})
    emulator.story("flaky", agent="enrich-*", times=2)
    emulator.agent("enrich-*").answers("x")
    ended = api.start("enrich-1", "hello", title="load.ask")["id"]
    clock.advance(60)
    going_on = api.start("slow", "take 60")["id"]
    clock.advance(5)
    api("GET", "/v1/tasks?status=completed")
    api("GET", "/v1/nothing")
    page = page_of(server)
    for task_id in (ended, going_on):
        assert f'href="/_emulator/tasks/{task_id}"' in page
    for text in ("load.ask", ">failed<", ">executing<", "5.0 s", "/v1/tasks?status=completed", ">404<"):
        assert text in page
    assert "<code>list_lag_seconds</code>" in page
    assert ">77.0" in page
    assert "1 of 2" in page
    assert "enrich-*" in page
    assert "the clock stands still" in page


def test_the_page_is_safe_whatever_a_client_sends(
    api: Api, server: EmulatorServer, emulator: Emulator
) -> None:
    evil = "<script>alert('x')</script>"
    emulator.agent("*").answers("x")
    emulator.configure({"poisonous_text": evil})
    emulator.story("slow", agent=evil)
    api.start("a'\"><b>", evil, title=evil, id="x'><b>")
    api("GET", f"/v1/tasks?user_id={evil}")
    page = page_of(server)
    assert "<script>alert" not in page
    assert "<b>" not in page
    assert "alert(&#x27;x&#x27;)" in page


def test_a_page_shows_the_latest_of_many(api: Api, server: EmulatorServer, emulator: Emulator) -> None:
    emulator.settings.run_seconds = 0
    for number in range(60):
        api.start(text=f"run-{number}")
    page = page_of(server)
    assert "Runs (60)" in page
    assert "run-59<" in page
    assert "run-9<" not in page


MEASURE = """
<script>
const light = color => {
  const [r, g, b] = color.match(/[\\d.]+/g).map(v => v / 255).map(v => v <= .04 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
  return .2126 * r + .7152 * g + .0722 * b + .05
}
const contrast = element => {
  const {color, backgroundColor} = getComputedStyle(element)
  const [one, other] = [light(color), light(backgroundColor)]
  return Math.max(one, other) / Math.min(one, other)
}
const lines = element => {
  const range = document.createRange()
  range.selectNodeContents(element)
  return range.getClientRects().length
}
document.title = JSON.stringify({
  dark: light(getComputedStyle(document.body).color) > .5,
  too_wide: document.documentElement.scrollWidth > innerWidth,
  broken: [...document.querySelectorAll("[data-name=started], [data-name=task] a")].filter(e => lines(e) > 1).length,
  contrast: Math.min(...[...document.querySelectorAll(".status")].map(contrast)),
})
</script>
"""  # noqa: E501


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize(("width", "dark"), [(360, True), (1200, False)], ids=["phone, dark", "desk, light"])
def test_the_page_in_a_browser(
    api: Api,
    server: EmulatorServer,
    emulator: Emulator,
    tmp_path: Path,
    width: int,
    dark: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[str] = []

    def seen(*of: Any) -> str:
        looks.append(status_page(*of))
        return looks[-1] + MEASURE

    monkeypatch.setattr("airflow_provider_xpander.emulator.app.status_page", seen)
    emulator.configure({"run_seconds": 0})
    for agent_id in ("echo", "failing", "paused", "slow"):
        api.start(agent_id, title="a-long-title-without-any-place-to-break-it-" * 4)
    picture = tmp_path / "page.png"
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'user'}",
        f"--window-size={width},900", "--virtual-time-budget=9000", f"--screenshot={picture}", "--dump-dom",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}", server.url + "/",
    ]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    shown = subprocess.run(
        command, capture_output=True, text=True, timeout=BROWSER_SECONDS, env=environment, check=True
    )
    assert "a-long-title" in shown.stdout
    assert 'class="list"' in shown.stdout
    assert len(looks) > 1  # it loads itself again
    assert "<main>" in shown.stdout  # and each time it went well
    assert picture.stat().st_size > 10_000
    measured = json.loads(shown.stdout.partition("<title>")[2].partition("</title>")[0])
    assert measured.pop("contrast") > 4.5
    assert measured == {"dark": dark, "too_wide": False, "broken": 0}
