"""Surroundings of the blocks in the documents: what their text says that a reader has."""

from __future__ import annotations

import gzip
import json
import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow_side import Service

BUCKET = "s3://aws_default@my-bucket/"
"""The bucket of the documents; its folder is ``bucket/`` in that of the DAGs."""


def provide(code: str, folder: Path, service: Service) -> dict[str, str]:
    """
    Make prompts in files, models in modules, files of a bucket and tables; return the environment.

    :param code: of the block.
    :param folder: that of the DAGs.
    :param service: that stands for xpander.ai.
    """
    for file in re.findall(r"{% include '([\w.]+)' %}", code):
        (folder / file).write_text("Say hello to {{ ds }}.")
    for module, model in re.findall(r'"([\w.]+)\.(\w+)"', code):
        path = folder / f"{module.replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"from pydantic import BaseModel\n\nclass {model}(BaseModel):\n    summary: str\n")
    if BUCKET in code:
        tickets = folder / "bucket" / "tickets"
        tickets.mkdir(parents=True, exist_ok=True)
        for part in range(4):
            (tickets / f"part-{part}.csv.gz").write_bytes(
                gzip.compress(b"id,body\n%d,Charged twice\n" % part)
            )
    connections: dict[str, dict[str, Any]] = {
        conn_id: {"conn_type": "http", "password": "hush-4711"}
        for conn_id in re.findall(r"conn\.(\w+)\.", code)
    }
    if '"warehouse"' in code:
        connections["warehouse"] = {"conn_type": "sqlite", "host": str(warehouse(folder))}
    # pydantic-ai's own test model, which calls each tool once.
    connections["my_llm"] = {"conn_type": "pydanticai", "extra": {"model": "test"}}
    return {
        "AIRFLOW_VAR_XPANDER_KEY": service.server.api_key,
        **{f"AIRFLOW_CONN_{conn_id.upper()}": json.dumps(one) for conn_id, one in connections.items()},
    }


def warehouse(folder: Path) -> Path:
    """
    Make a database with tickets of these days and an empty table for their labels; return its file.

    :param folder: where it is made.
    """
    path = folder / "warehouse.db"
    path.unlink(missing_ok=True)
    today = datetime.now(UTC).date()
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE tickets (id INTEGER PRIMARY KEY, subject, body, day)")
        database.execute("CREATE TABLE ticket_labels (id INTEGER PRIMARY KEY, summary)")
        database.executemany(
            "INSERT INTO tickets (subject, body, day) VALUES ('Invoice', 'Charged twice', ?)",
            [[str(day)] for day in (today - timedelta(1), today, today + timedelta(1))],
        )
        database.commit()
    return path


async def approve(ti_id: str) -> dict[str, Any]:
    """
    Choose as a person who is asked in Airflow, at once.

    :param ti_id: of the task instance that asks.
    """
    return {"chosen_options": ["Approve"], "responded_by_user": {"id": "ada", "name": "Ada"}}
