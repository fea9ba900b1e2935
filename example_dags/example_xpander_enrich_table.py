"""
Enrich a table, rows by the pack: every night the tickets that are new or changed, from a table into another.

1. ``make_tables`` makes what you have already: a SQLite database with a table of tickets, and an empty table
   for what the agent says of them. It fills the first with ``data/support_tickets.csv``, next to this file.
2. ``enrich`` asks an agent about all rows of the table, ten in each run, and writes the answers into the
   second table, by the key of the ticket. It waits once for all runs, and occupies no worker meanwhile. Rows
   that were asked about in the same words before come out of the cache and cost nothing: a second run of the
   DAG starts no run of the agent, and after a day with five new tickets the next starts one.
3. ``count`` reads the second table and returns how many tickets there are of each category.

When to use which: ``xpander_enrich_tickets`` makes a mapped task of each row, which is good for a few dozen
rows, each of which you want to see, retry and clear by itself. This one is for tables: from a hundred rows to
a million, in as few requests as the limits of the service ask for.

Needs the connection ``xpander_default``, and the extra ``sql`` with the provider of your database, here
``apache-airflow-providers-sqlite``. What can be set from outside:

- ``XPANDER_AGENT_ID``: the agent; without it ``classifier``, an agent of the local emulator
- ``XPANDER_EXAMPLE_POLL_INTERVAL``: seconds between two looks at a run; 2 suits the emulator, 30 the service
- ``XPANDER_EXAMPLE_FOLDER``: where the database, the results and the cache are
"""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import tempfile
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2.11
    from airflow.decorators import task
    from airflow.models.dag import DAG

from airflow_provider_xpander.operators.enrich import XpanderEnrichOperator

TICKETS = Path(__file__).parent / "data" / "support_tickets.csv"
FOLDER = Path(os.environ.get("XPANDER_EXAMPLE_FOLDER") or Path(tempfile.gettempdir(), "xpander_enrich_table"))
DATABASE = FOLDER / "tickets.db"

# The example brings its connection along. Yours is in Airflow, under a name of your own.
os.environ.setdefault(
    "AIRFLOW_CONN_XPANDER_EXAMPLE_DB", json.dumps({"conn_type": "sqlite", "host": str(DATABASE)})
)

TABLES = (
    "tickets (id TEXT PRIMARY KEY, customer TEXT, subject TEXT, body TEXT)",
    # The key, the properties of the answer; and where a label came from, because it has columns for that.
    "ticket_labels (id TEXT PRIMARY KEY, category, priority, summary, status, xpander_task_id)",
)
TICKET_SCHEMA = {
    "type": "object",
    "properties": {
        "category": {
            "type": "string",
            "enum": ["billing", "bug", "access", "feature", "performance", "security", "question", "other"],
        },
        "priority": {"type": "string", "enum": ["low", "medium", "high", "urgent"]},
        "summary": {"type": "string", "description": "One sentence of at most 20 words."},
    },
    "required": ["category", "priority", "summary"],
    "additionalProperties": False,
}

with DAG(
    dag_id="xpander_enrich_table",
    # "@daily" in production. None here: unpausing it starts nothing, each trigger starts one run.
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["xpander", "example"],
    doc_md=__doc__,
) as dag:

    @task
    def make_tables() -> None:
        """Make the tables, and put in the tickets that are not there yet."""
        FOLDER.mkdir(parents=True, exist_ok=True)
        with TICKETS.open(newline="", encoding="utf-8") as file:
            tickets = list(csv.DictReader(file))
        with closing(sqlite3.connect(DATABASE)) as database:
            for table in TABLES:
                database.execute(f"CREATE TABLE IF NOT EXISTS {table}")
            database.executemany(
                "INSERT OR IGNORE INTO tickets VALUES (:id, :customer, :subject, :body)", tickets
            )
            database.commit()

    @task
    def count() -> dict[str, int]:
        """Count the tickets by category."""
        with closing(sqlite3.connect(DATABASE)) as database:
            found = database.execute("SELECT category, COUNT(*) FROM ticket_labels GROUP BY 1 ORDER BY 1")
            return dict(found.fetchall())

    enrich = XpanderEnrichOperator(
        task_id="enrich",
        agent_id=os.environ.get("XPANDER_AGENT_ID") or "classifier",
        rows="SELECT id, customer, subject, body FROM tickets ORDER BY id",
        rows_conn_id="xpander_example_db",
        key="id",
        input="Classify each support ticket for the people who will work on it.",
        # Neither the key nor the customer helps the agent, so neither leaves the house.
        exclude_columns=["id", "customer"],
        output_schema=TICKET_SCHEMA,
        rows_per_run=10,
        # What is the most that a night may cost: a hundred runs, repeats included.
        max_runs=100,
        # A folder of its own for each run of the DAG; a retry goes on from what is there.
        result_path=f"file://{FOLDER}/results/{{{{ run_id }}}}",
        cache_path=f"file://{FOLDER}/cache",
        cache_ttl=timedelta(days=30).total_seconds(),
        write_table="ticket_labels",
        write_conn_id="xpander_example_db",
        write_mode="upsert",
        deferrable=True,
        poll_interval=float(os.environ.get("XPANDER_EXAMPLE_POLL_INTERVAL") or "2"),
        retries=2,
        retry_delay=timedelta(seconds=10),
    )
    make_tables() >> enrich >> count()
