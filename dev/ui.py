"""`make ui`: a whole local Airflow with the examples, until Ctrl-C."""

from __future__ import annotations

import ast
import re
import signal
import sys
import time
from pathlib import Path

from dev.local_airflow import AIRFLOW_VERSION, LocalAirflow, LocalAirflowError
from dev.log_server import log_server
from dev.paths import EXAMPLE_DAGS, ROOT, STATE
from dev.service import ServiceError, chosen_service

# Long enough to see a task wait.
EMULATOR_RUN_SECONDS = 8.0
# Stays from one time to the next, unlike the home of Airflow.
OWN_DAGS = STATE / "ui" / "dags"


def main() -> int:
    """Run until interrupted, and return the exit code."""
    # Processes are stopped on the way out, so a SIGTERM has to be a way out too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    home = STATE / "ui" / "airflow"
    OWN_DAGS.mkdir(parents=True, exist_ok=True)
    try:
        with chosen_service(EMULATOR_RUN_SECONDS) as service, log_server(home / "logs") as logs:
            print(f"agents: {service.name}; starting Airflow {AIRFLOW_VERSION} ...", flush=True)
            output = {"XPANDER_EXAMPLE_OUTPUT": str(STATE / "ui" / "enriched_tickets.csv")}
            env = {**logs, **service.env, **output}
            with LocalAirflow(home, dags=[EXAMPLE_DAGS, OWN_DAGS], env=env) as airflow:
                print(guide(airflow.url, service.name, airflow.home), flush=True)
                while all(component.is_running for component in airflow.components.values()):
                    time.sleep(1)
                ended = [name for name, component in airflow.components.items() if not component.is_running]
                print(f"{', '.join(ended)} ended\n{airflow.log_tail(ended[0])}", file=sys.stderr)
                return 1
    except (ServiceError, LocalAirflowError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped")
        return 0


def guide(url: str, service: str, home: Path) -> str:
    """
    Return what to do next.

    :param url: of Airflow.
    :param service: the service that the examples talk to, for people.
    :param home: of Airflow.
    """
    examples = [example(path) for path in sorted(EXAMPLE_DAGS.glob("*.py"))]
    width = max(len(dag_id) for dag_id, _ in examples)
    return "\n".join(
        [
            "",
            f"Open {url} - no login is needed.",
            "",
            "Choose a DAG and press Trigger: that unpauses it, and makes one run.",
            *(f"  {dag_id.ljust(width)}  {sentence}" for dag_id, sentence in examples),
            "",
            "They use the connection xpander_default. It comes from the environment variable",
            "AIRFLOW_CONN_XPANDER_DEFAULT, so it is not among the connections that the page lists;",
            f"it leads to {service}.",
            "",
            f"A DAG of your own: put its file into {OWN_DAGS.relative_to(ROOT)}/; it shows within a minute.",
            f"Logs of Airflow: {home.relative_to(ROOT)}/",
            "Ctrl-C stops everything.",
            "",
        ]
    )


def example(path: Path) -> tuple[str, str]:
    """
    Return the id of an example's DAG, and the first sentence of what is said of it.

    :param path: of its file.
    """
    source = path.read_text(encoding="utf-8")
    found = re.search(r'dag_id="(\w+)"', source)
    first_line = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
    return found[1] if found else path.stem, first_line


if __name__ == "__main__":
    sys.exit(main())
