"""
A million rows of a bulk task: memory and time to read them out of each source, and of a whole task, dry.

``python -m benchmarks.bulk_rows [rows]``. Each is measured in a process of its own. The dry task is all but
the service: snapshot, packs of twenty, waves of fifty runs with their answers, results, ledger.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import logging
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks.measures import memory

ROWS = 1_000_000
TEXT = "A ticket of some hundred characters, as customers write them about what has gone wrong today; number "
SOURCES = ("list", "jsonl", "csv", "csv.gz", "parquet", "sql")
WHOLE = "a whole task, dry"
PACK, WAVE = 20, 50
SCHEMA = {"type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"]}


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


def measure(folder: Path, source: str, count: int) -> dict[str, float]:
    """
    Read one source and return what that took.

    :param folder: where the sources are.
    :param source: one of them.
    :param count: of rows.
    """
    from airflow_provider_xpander.bulk.rows import json_line
    from airflow_provider_xpander.bulk.sources import read_rows

    if source == WHOLE:
        return dry(folder, count)
    os.environ["AIRFLOW_CONN_ROWS"] = f"sqlite://{folder}/rows.db"
    given: dict[str, Any] = {"rows": f"file://{folder}/rows.{source}"}
    if source == "list":
        given = {"rows": rows(count)}
    elif source == "sql":
        given = {"rows": "SELECT * FROM t", "rows_conn_id": "ROWS"}
    sink = io.FileIO(os.devnull, "w")
    found = read_rows(key=("id",), **given)
    sink.write(json_line(next(found).values))  # with it, all that is loaded on first use
    meter = Meter()
    for row in found:
        sink.write(json_line(row.values))
    return meter.read()


class Meter:
    """Time and the peak of memory from now on."""

    def __init__(self) -> None:
        self._before, self._began = memory(), time.monotonic()
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here

    def read(self) -> dict[str, float]:
        """Return seconds, and megabytes above what was in use, and in all."""
        lines = Path("/proc/self/status").read_text().splitlines()
        (peak,) = (int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
        seconds = time.monotonic() - self._began
        return {"seconds": seconds, "above": (peak - self._before) / 2**20, "all": peak / 2**20}


def dry(folder: Path, count: int) -> dict[str, float]:
    """
    Do all that a bulk task does with its rows but ask a service, and return what that took.

    :param folder: where the sources are, and where the results go.
    :param count: of rows.
    """
    from airflow_provider_xpander.bulk.folder import Folder
    from airflow_provider_xpander.bulk.ledger import Ledger
    from airflow_provider_xpander.bulk.packs import Pack, judge, text_of, tokens
    from airflow_provider_xpander.bulk.results import ResultFiles
    from airflow_provider_xpander.bulk.row_input import RowInput
    from airflow_provider_xpander.bulk.sources import read_rows
    from airflow_provider_xpander.bulk.state import Flight, State
    from airflow_provider_xpander.operators.bulk.book import Book
    from airflow_provider_xpander.runs.schema import AnswerSchema

    log, schema, row_input = logging.getLogger("dry"), AnswerSchema(SCHEMA), RowInput()
    url, key = f"file://{folder}/out", ("id",)
    source = read_rows(f"file://{folder}/rows.csv", key=key)
    first = next(source)
    meter = Meter()
    ledger = Ledger(Folder(url), "dry", 1)
    ledger.snapshot(lambda: (row.values for row in chain([first], source)))
    state = State(rows=count, limit=count, began=time.time())
    files = ResultFiles(url, key=key)
    book = Book(ledger, state, key=key, files=files, row_input=row_input, table=None, log=log)
    for at in range(0, count, PACK * WAVE):
        places = range(at, min(at + PACK * WAVE, count))
        packs = [Pack(tuple(places[start : start + PACK])) for start in range(0, len(places), PACK)]
        flight = tuple(Flight(number, pack, "asked", time.time()) for number, pack in enumerate(packs))
        book.state = replace(book.state, cursor=places[-1] + 1, flight=flight)
        book.intend()
        for pack in packs:
            text_of("What is it?", [row_input.sent(book.row(place)) for place in pack.rows])
            answers = [{"key": token, "answer": {"label": "fine"}} for token in tokens(len(pack.rows))]
            verdicts = judge({"rows": answers}, len(pack.rows), schema.conform)
            for place, verdict in zip(pack.rows, verdicts, strict=True):
                book.settle(place, verdict.answer, "run")
        book.state = book.state.without([one.number for one in flight])
        book.done()
    if book.state.answered != count:
        raise AssertionError(f"{book.state.answered} of {count} rows were answered")
    return meter.read()


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
        for source in (*SOURCES, WHOLE):
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
