"""
`make bench`: what waiting costs, for all contenders, one after the other; tables, and curves for ``docs/``.

    python -m benchmarks.run                 everything, some seventy minutes
    python -m benchmarks.run --only wait     the comparison; "limit" is the run under an enforced limit
    python -m benchmarks.run --only bulk     tables of rows, in bulk and mapped, on a real Airflow
    python -m benchmarks.run --quick         a tenth of it, to try the benchmark itself
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

SPEED = 6.0
"""Seconds of the benchmark's clock in a real second."""
POLL = 30.0
"""Everybody's interval, in seconds of that clock."""
SECONDS = 600.0
"""Length of a measurement, in seconds of that clock: twenty intervals, as of runs of ten minutes."""
BULK: tuple[str, ...] = ("bulk_airflow", "bulk_waves", "bulk_rows")
PLAN: list[tuple[str, str, int, str]] = [
    *(
        (name, name, n, "updated")
        for n in (100, 1000)
        for name in ("naive, own client", "naive, shared client", "databricks", "dbt-cloud", "xpander")
    ),
    ("xpander, list in no order", "xpander", 1000, "none"),
    ("naive, shared client", "naive, shared client", 5000, "updated"),
    ("databricks", "databricks", 5000, "updated"),
    ("xpander", "xpander", 5000, "updated"),
    ("xpander, list in no order", "xpander", 5000, "none"),
]


@contextmanager
def server(folder: Path, **settings: Any) -> Iterator[dict[str, Any]]:
    """
    Run the server; gives its settings and port.

    :param folder: for certificates and results.
    :param settings: of the server.
    """
    from certificates import make_certificates

    certificates = make_certificates(folder)
    settings |= {"cert": str(certificates.server), "key": str(certificates.key), "origin": time.time()}
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(settings) + "\n")
        process.stdin.flush()
        yield settings | json.loads(process.stdout.readline()) | {"ca": str(certificates.ca)}
    finally:
        process.stdin.close()
        process.wait(20)


def child(module: str, settings: dict[str, Any], limit: float) -> dict[str, Any]:
    """
    Run a measurement in a process of its own and return its result.

    :param module: the module to run.
    :param settings: of the measurement.
    :param limit: seconds after which it is given up.
    """
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "AIRFLOW_HOME": home, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        env |= {"AIRFLOW__CORE__UNIT_TEST_MODE": "True", "PYTHONWARNINGS": "ignore", "NO_PROXY": "127.0.0.1"}
        done = subprocess.run(
            [sys.executable, "-m", module, json.dumps(settings)],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
    results = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not results:
        raise SystemExit(f"{module} has failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return json.loads(results[0].removeprefix("RESULT "))  # type: ignore[no-any-return]


def compare(share: float, numbers: list[int], names: list[str]) -> list[dict[str, Any]]:
    """
    Measure each contender with each number of waits.

    :param share: of the full length of the measurements.
    :param numbers: of waits.
    :param names: of contenders.
    """
    results = []
    seconds = SECONDS * share
    for label, contender, n, order in PLAN:
        if (numbers and n not in numbers) or (names and not label.startswith(tuple(names))):
            continue
        ends = [0.1 * seconds, 1.6 * seconds]
        with (
            tempfile.TemporaryDirectory() as folder,
            server(Path(folder), speed=SPEED, runs=n, ends=ends, order=order, history=60) as at,
        ):
            settings = {
                "contender": contender,
                "label": label,
                "poll": POLL / SPEED,
                "seconds": seconds / SPEED,
            }
            settings |= {key: at[key] for key in ("port", "ca", "speed", "origin")}
            result = child("benchmarks.wait", settings, limit=seconds / SPEED * 4 + 120)
        print(f"   {label}, N={n}: {result['requests']} requests, {result['cpu']:.2f} s", file=sys.stderr)
        results.append(result)
    return results


def table(rows: list[dict[str, Any]]) -> str:
    """
    Write the comparison as a table.

    :param rows: the results.
    """
    head = (
        "| contender | N | requests | TLS handshakes | CPU s | KiB a waiter | loop lag max (p99) ms "
        "| delay p50 / p95 / max, intervals | not found in time |"
    )
    lines = [
        head,
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        lines.append(
            f"| {row['contender']} | {row['n']:,} | {row['requests']:,} | {row['handshakes']:,} "
            f"| {row['cpu']:.2f} | {row['kib_each']:.1f} | {row['lag_ms']:.0f} ({row['lag_p99_ms']:.0f}) "
            f"| {row['p50']:.2f} / {row['p95']:.2f} / {row['max']:.2f} | {row['missed'] + row['errors']} |"
        )
    return "\n".join(lines)


def limited(share: float) -> dict[str, Any]:
    """
    Submit, wait and read as fast as an enforced limit of 1,000 an hour lets.

    :param share: of the full length of the measurements.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        server(Path(folder), speed=60.0, per_hour=1000, per_minute=100) as at,
    ):
        settings = {key: at[key] for key in ("port", "ca", "speed", "origin")} | {
            "hours": max(1.5, 5 * share)
        }
        return child("benchmarks.limit", settings, limit=900)


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=["wait", "limit", "bulk"])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--n", type=int, action="append", default=[], help="only with so many waits")
    parser.add_argument("--who", action="append", default=[], help="only contenders whose name begins so")
    parser.add_argument("--keep", type=Path, help="file of results to add to and to draw")
    options = parser.parse_args()
    share = 0.35 if options.quick else 1.0
    info = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in info if "model name" in line), "")
    print(f"{os.cpu_count()} cores {model}, Python {platform.python_version()}")
    results: list[dict[str, Any]] = []
    if options.keep and options.keep.exists():
        results = json.loads(options.keep.read_text())
    if options.only in (None, "wait"):
        results += compare(share, options.n, options.who)
        print(table(results))
        if options.keep:
            options.keep.write_text(json.dumps(results, indent=1))
        if not options.quick:
            from benchmarks.draw import draw

            draw(results, ROOT / "docs" / "benchmarks.png")
    if options.only in (None, "limit"):
        for key, value in limited(share).items():
            print(f"{key}: {value}")
    if options.only in (None, "bulk"):
        bulk(options.quick)


def bulk(quick: bool) -> None:
    """
    Measure tables of rows.

    :param quick: only a few hundred of them.
    """
    modules = {"bulk_airflow": ["bulk_200_1"]} if quick else dict.fromkeys(BULK, [])
    for module, arguments in modules.items():
        print(f"== {module}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{module}", *arguments], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
