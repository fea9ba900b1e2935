"""
A million rows out of each source of a bulk task: memory and time to read, check and write them as JSON.

``python -m benchmarks.bulk_rows [rows]``. Each source is read in a process of its own.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.measures import memory

ROWS = 1_000_000
TEXT = "A ticket of some hundred characters, as customers write them about what has gone wrong today; number "
SOURCES = ("list", "jsonl", "csv", "csv.gz", "parquet", "sql")


def rows(count: int) -> Iterator[dict[str, Any]]:
    """
    Give rows of a table of tickets.

    :param count: how many.
    """
    for number in range(count):
        yield {"id": number, "customer": f"c{number % 1000}", "amount": number / 7, "text": f"{TEXT}{number}"}


def prepare(folder: Path, count: int) -> None:
    """
    Write the sources.

    :param folder: where.
    :param count: of rows.
    """
    import pyarrow
    from pyarrow import parquet

    with (folder / "rows.jsonl").open("w") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows(count))
    with (folder / "rows.csv").open("w", newline="") as plain:
        writer = csv.DictWriter(plain, ["id", "customer", "amount", "text"])
        writer.writeheader()
        writer.writerows(rows(count))
    with gzip.open(folder / "rows.csv.gz", "wb", compresslevel=1) as packed:
        packed.write((folder / "rows.csv").read_bytes())
    schema = pyarrow.schema(
        [("id", "int64"), ("customer", "string"), ("amount", "float64"), ("text", "string")]
    )
    with parquet.ParquetWriter(folder / "rows.parquet", schema) as table:
        for at in range(0, count, 50_000):
            part = [row for row in rows(min(at + 50_000, count)) if row["id"] >= at]
            table.write_table(pyarrow.Table.from_pylist(part, schema))
    with sqlite3.connect(folder / "rows.db") as database:
        database.execute("CREATE TABLE t (id INTEGER, customer TEXT, amount REAL, text TEXT)")
        database.executemany("INSERT INTO t VALUES (:id, :customer, :amount, :text)", rows(count))


def measure(folder: Path, source: str, count: int) -> dict[str, Any]:
    """
    Read one source and return what that took.

    :param folder: where the sources are.
    :param source: one of them.
    :param count: of rows.
    """
    from airflow_provider_xpander.bulk.rows import json_line
    from airflow_provider_xpander.bulk.sources import read_rows

    os.environ["AIRFLOW_CONN_ROWS"] = f"sqlite://{folder}/rows.db"
    given: dict[str, Any] = {"rows": f"file://{folder}/rows.{source}"}
    if source == "list":
        given = {"rows": rows(count)}
    elif source == "sql":
        given = {"rows": "SELECT * FROM t", "rows_conn_id": "ROWS"}
    sink = io.FileIO(os.devnull, "w")
    found = read_rows(key=("id",), **given)
    sink.write(json_line(next(found).values))  # with it, all that is loaded on first use
    before, began = memory(), time.monotonic()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    for row in found:
        sink.write(json_line(row.values))
    (line,) = (
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    peak = int(line.split()[1]) * 1024
    return {"seconds": time.monotonic() - began, "above": (peak - before) / 2**20, "all": peak / 2**20}


def main() -> None:
    """Measure all sources and print a table."""
    if len(sys.argv) == 4:
        folder, source, count = sys.argv[1:]
        print(json.dumps(measure(Path(folder), source, int(count))))
        return
    count = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), count)
        print(f"{count:,} rows: read, checked, written as JSON\n")
        print(
            "| source | seconds | peak above Airflow's own, MB | peak of the process, MB |\n|---|---|---|---|"
        )
        for source in SOURCES:
            command = [sys.executable, "-m", "benchmarks.bulk_rows", folder, source, str(count)]
            ran = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
            if ran.returncode:
                sys.exit(ran.stderr)
            told = json.loads(ran.stdout.splitlines()[-1])
            print(
                f"| {source} | {told['seconds']:.1f} | {told['above']:.0f} | {told['all']:.0f} |", flush=True
            )


if __name__ == "__main__":
    main()
