"""`make ui`: a whole local Airflow with the examples, until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import time

from dev.local_airflow import AIRFLOW_VERSION, LocalAirflow, LocalAirflowError
from dev.paths import EXAMPLE_DAGS, STATE
from dev.service import ServiceError, chosen_service

# Long enough to see a task wait.
EMULATOR_RUN_SECONDS = 8.0


def main() -> int:
    """Run until interrupted, and return the exit code."""
    # Processes are stopped on the way out, so a SIGTERM has to be a way out too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    env = {
        "XPANDER_EXAMPLE_OUTPUT": str(STATE / "ui" / "enriched_tickets.csv"),
    }
    try:
        with chosen_service(EMULATOR_RUN_SECONDS) as service:
            print(f"agents: {service.name}; starting Airflow {AIRFLOW_VERSION} ...", flush=True)
            env |= service.env
            with LocalAirflow(STATE / "ui" / "airflow", dags=[EXAMPLE_DAGS], env=env) as airflow:
                print(
                    f"\nAirflow: {airflow.url} (no login)\nlogs:    {airflow.home}\nCtrl-C stops it.\n",
                    flush=True,
                )
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


if __name__ == "__main__":
    sys.exit(main())
