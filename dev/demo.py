"""`make demo`: run the two enrichment examples through real Airflow processes, and show what came out."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from dev.airflow_client import RUN_ENDS, AirflowClient
from dev.local_airflow import AIRFLOW_VERSION, LocalAirflow, LocalAirflowError
from dev.paths import EXAMPLE_DAGS, STATE
from dev.service import ServiceError, chosen_service
from dev.waiting import WaitTimeout

DAG_ID = "xpander_enrich_tickets"
TICKETS = EXAMPLE_DAGS / "data" / "support_tickets.csv"
OUTPUT = STATE / "demo" / "enriched_tickets.csv"
BULK_DAG_ID = "xpander_enrich_table"
BULK_FOLDER = STATE / "demo" / "enrich_table"
ANSWER = ("category", "priority", "sentiment", "summary")
# Column of the printed table: widest it gets.
COLUMNS = {
    "id": 6,
    "customer": 24,
    "subject": 38,
    "category": 11,
    "priority": 8,
    "sentiment": 9,
    "summary": 48,
}

# Long enough to be deferred, short enough to be watched.
EMULATOR_RUN_SECONDS = 5.0
# A real agent may be slow and is rate limited.
RUN_LIMIT = 3600.0

_started = time.monotonic()


def main() -> int:
    """Run the demo and return the exit code: 0 only if the table is complete."""
    # Processes are stopped on the way out, so a SIGTERM has to be a way out too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    OUTPUT.unlink(missing_ok=True)
    shutil.rmtree(BULK_FOLDER, ignore_errors=True)
    try:
        with chosen_service(EMULATOR_RUN_SECONDS) as service:
            say(f"agents: {service.name}; starting Airflow {AIRFLOW_VERSION} ...")
            places = {"XPANDER_EXAMPLE_OUTPUT": str(OUTPUT), "XPANDER_EXAMPLE_FOLDER": str(BULK_FOLDER)}
            env = {**service.env, **places}
            with LocalAirflow(STATE / "demo" / "airflow", dags=[EXAMPLE_DAGS], env=env) as airflow:
                say(f"Airflow is up on {airflow.url}")
                succeeded = run(airflow.client, DAG_ID) and run(airflow.client, BULK_DAG_ID)
    except (ServiceError, LocalAirflowError, WaitTimeout) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted, everything is stopped", file=sys.stderr)
        return 130
    if not succeeded:
        return 1
    tickets, table = read_csv(TICKETS), read_csv(OUTPUT)
    print_table(table)
    print(f"\n{len(table)} tickets enriched by {service.name}: {OUTPUT}")
    complete = [row["id"] for row in table if all(row[name] for name in ANSWER)]
    if complete != [ticket["id"] for ticket in tickets]:
        print("the table is not complete", file=sys.stderr)
        return 1
    (path,) = BULK_FOLDER.glob("results/*/manifest.json")
    manifest = json.loads(path.read_text())
    counts, runs = manifest["counts"], manifest["runs"]
    print(f"The same in packs: {counts['answered']} tickets in {runs['started']} runs, {path.parent}")
    if counts["answered"] != len(tickets):
        print("the table in packs is not complete", file=sys.stderr)
        return 1
    return 0


def run(client: AirflowClient, dag_id: str) -> bool:
    """
    Run a DAG to its end, with a line whenever something changes; return whether it succeeded.

    :param client: of Airflow's REST API.
    :param dag_id: the DAG.
    """
    run_id = client.trigger(dag_id)
    say(f"{dag_id} {run_id}")
    last, deadline = "", time.monotonic() + RUN_LIMIT
    while (state := client.run_state(dag_id, run_id)) not in RUN_ENDS:
        if time.monotonic() > deadline:
            raise WaitTimeout(f"the run has not ended within {RUN_LIMIT:g} s")
        now = progress(client, dag_id, run_id)
        if now and now != last:
            say(now)
        last = now
        time.sleep(1)
    say(progress(client, dag_id, run_id))
    say(f"{dag_id} {state}")
    if state != "success":
        print_first_failure(client, dag_id, run_id)
    return state == "success"


def progress(client: AirflowClient, dag_id: str, run_id: str) -> str:
    """
    Return how far a DAG run is, in one line; empty before that is known.

    :param client: of Airflow's REST API.
    :param dag_id: the DAG.
    :param run_id: id of the DAG run.
    """
    if dag_id == BULK_DAG_ID:
        states = {one.task_id: one.state for one in client.task_instances(dag_id, run_id)}
        return ", ".join(f"{task_id} {state}" for task_id, state in sorted(states.items()) if state)
    return tickets_done(client, run_id)


def tickets_done(client: AirflowClient, run_id: str) -> str:
    """
    Return how far the mapped tickets are, in one line; empty before they are known.

    :param client: of Airflow's REST API.
    :param run_id: id of the DAG run.
    """
    states = Counter(
        one.state
        for one in client.task_instances(DAG_ID, run_id)
        if one.task_id == "classify" and one.map_index >= 0
    )
    if not states:
        return ""
    line = f"{states['success']} of {states.total()} tickets done, {states['deferred']} waiting for the agent"
    return f"{line}, {states['failed']} failed" if states["failed"] else line


def print_first_failure(client: AirflowClient, dag_id: str, run_id: str) -> None:
    """
    Print the end of the log of the first task that failed.

    :param client: of Airflow's REST API.
    :param dag_id: the DAG.
    :param run_id: id of the DAG run.
    """
    for one in client.task_instances(dag_id, run_id):
        if one.state == "failed":
            log = client.log(dag_id, run_id, one.task_id, one.try_number, one.map_index)
            print(
                f"--- log of {one.task_id}[{one.map_index}]",
                *log.splitlines()[-30:],
                sep="\n",
                file=sys.stderr,
            )
            return


def read_csv(path: Path) -> list[dict[str, str]]:
    """
    Return the rows of a CSV file.

    :param path: of the file.
    """
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def print_table(rows: Sequence[Mapping[str, str]]) -> None:
    """
    Print the interesting columns, aligned, long texts cut, lines no wider than the terminal.

    :param rows: by the names of the columns.
    """
    width = shutil.get_terminal_size((160, 24)).columns
    print()
    for row in [{name: name for name in COLUMNS}, *rows]:
        cells = [cut(row[name], size).ljust(size) for name, size in COLUMNS.items()]
        print("  ".join(cells)[:width].rstrip())


def cut(text: str, size: int) -> str:
    """
    Return a text on one line, with an ellipsis where it is longer than ``size``.

    :param text: the text.
    :param size: characters at the most.
    """
    line = " ".join(text.split())
    return line if len(line) <= size else line[: size - 1] + "…"


def say(line: str) -> None:
    """
    Print a line with the seconds since the start.

    :param line: the line.
    """
    print(f"{time.monotonic() - _started:6.1f} s  {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
