"""`make screenshots`: pictures of Airflow's pages about runs, made from the examples and the emulator."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

from dev.local_airflow import AIRFLOW_VERSION, MAJOR, LocalAirflow
from dev.paths import EXAMPLE_DAGS, ROOT, STATE
from dev.service import chosen_service

PICTURES = ROOT / "docs" / "images"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LOAD_MILLISECONDS = 20_000
"""Time that a page has to fetch what it shows, by the browser's own clock."""


def main() -> int:
    """Make the pictures, and return the exit code."""
    browser = next(
        filter(None, map(shutil.which, filter(None, (os.environ.get("BROWSER"), *BROWSERS)))), None
    )
    if browser is None or MAJOR < 3:
        print("needs Airflow 3, and chromium or Chrome on PATH (or BROWSER=...)", file=sys.stderr)
        return 1
    PICTURES.mkdir(exist_ok=True)
    with chosen_service(2.0) as service:
        env = {"AIRFLOW__CORE__DEFAULT_TIMEZONE": "utc", **service.env}
        with LocalAirflow(STATE / "screenshots" / "airflow", dags=[EXAMPLE_DAGS], env=env) as airflow:
            print(f"Airflow {AIRFLOW_VERSION} is up on {airflow.url}", flush=True)
            for name, path in pages(airflow).items():
                picture(browser, f"{airflow.url}{path}", PICTURES / f"{name}.png")
                print(f"docs/images/{name}.png", flush=True)
    return 0


def pages(airflow: LocalAirflow) -> dict[str, str]:
    """
    Run the examples, and return the path of each page by the name of its picture.

    :param airflow: that is to be seen.
    """
    client = airflow.client
    runs = {name: client.trigger(f"xpander_{name}") for name in ("hello", "stream", "ask")}
    for name in ("hello", "stream"):
        client.wait_for_run(f"xpander_{name}", runs[name])
    client.wait_for_task("xpander_ask", runs["ask"], "ask", {"deferred", "awaiting_input"}, limit=120)

    def task(name: str, task_id: str, tab: str = "") -> str:
        return f"/dags/xpander_{name}/runs/{quote(runs[name])}/tasks/{task_id}{tab}"

    return {
        "log": task("hello", "ask"),
        "xcom": task("hello", "ask", "/xcom"),
        "link": task("hello", "ask", "/details"),
        "stream": task("stream", "follow"),
        "question": "/required_actions",
    }


def picture(browser: str, url: str, file: Path) -> None:
    """
    Make a picture of a page.

    :param browser: the program.
    :param url: of the page.
    :param file: the picture.
    """
    with tempfile.TemporaryDirectory() as profile:
        command = [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            "--force-device-scale-factor=1", "--window-size=1280,800", f"--user-data-dir={profile}",
            f"--virtual-time-budget={LOAD_MILLISECONDS}", f"--screenshot={file}", url,
        ]  # fmt: skip
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=180, check=True)


if __name__ == "__main__":
    sys.exit(main())
