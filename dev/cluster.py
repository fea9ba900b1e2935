"""
`make cluster`: Airflow as it runs in production, on one machine, until Ctrl-C.

PostgreSQL, Redis, two schedulers, two triggerers and two Celery workers with four slots each, besides the
api-server and the dag-processor of Airflow 3 or the webserver of Airflow 2. Each can be killed and started by
itself.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType

from dev.database import scratch_database
from dev.local_airflow import AIRFLOW_VERSION, COMPONENTS, LocalAirflow, LocalAirflowError
from dev.paths import EXAMPLE_DAGS, ROOT, STATE
from dev.postgres import LocalPostgres, NoPostgres, local_postgres
from dev.redis import LocalRedis, NoRedis, local_redis
from dev.service import chosen_service
from dev.waiting import wait_for

SLOTS = 4
"""Tasks that one worker runs at a time."""
WORKERS = ("worker-1", "worker-2")
TRIGGERERS = ("triggerer", "triggerer-2")
SCHEDULERS = ("scheduler", "scheduler-2")
_DOUBLED = ("scheduler", "triggerer")
_ONE_EACH = {name: arguments for name, arguments in COMPONENTS.items() if name not in _DOUBLED}
_WORKER = ["celery", "worker", "--skip-serve-logs", "--concurrency", str(SLOTS), "--celery-hostname"]
CLUSTER = {
    **_ONE_EACH,
    **dict.fromkeys(SCHEDULERS, COMPONENTS["scheduler"]),
    **dict.fromkeys(TRIGGERERS, COMPONENTS["triggerer"]),
    **{name: [*_WORKER, f"{name}@127.0.0.1"] for name in WORKERS},
}


class NoCluster(Exception):
    """No cluster can be run here; the message says why."""


class Cluster(LocalAirflow):
    """
    A local Airflow with two of everything.

    :param home: folder for configuration, database and logs; made if it is not there.
    :param postgres: the server of the database.
    :param redis: the broker.
    :param database_url: SQLAlchemy URL of an empty database on that server.
    :param dags: folders with DAG files.
    :param env: environment for all processes; wins over what is set here.
    :param env_of: what some components have besides, by their names.
    """

    def __init__(
        self,
        home: Path,
        postgres: LocalPostgres,
        redis: LocalRedis,
        database_url: str,
        *,
        dags: tuple[Path, ...],
        env: Mapping[str, str],
        env_of: Mapping[str, Mapping[str, str]],
    ) -> None:
        self.postgres, self.redis = postgres, redis
        celery = {
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__CELERY__BROKER_URL": redis.url,
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{database_url}",
            # What is delivered and not acknowledged in that time is delivered again, seconds.
            "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "120",
            "C_FORCE_ROOT": "1",
            # What a worker could not begin, because the database was away, is handed out again; by default
            # after ten minutes.
            "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "120",
            "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "20",
            # A try that cannot be handed to the broker is a failed one: all of them have to outlast that.
            "E2E_RETRY_DELAY": "20",
        }
        super().__init__(
            home,
            dags=dags,
            env={**celery, **env},
            parallelism=2 * SLOTS * len(WORKERS),
            database_url=database_url,
            components=CLUSTER,
        )
        for name in WORKERS:
            self.components[name].env["TMPDIR"] = str(self._temporary(name))
        for name, more in env_of.items():
            self.components[name].env |= more

    def _temporary(self, worker: str) -> Path:
        """Return a worker's own folder: workers of other machines and pods share none."""
        return self.home / f"{worker}.tmp"

    def _prepare_home(self) -> None:
        super()._prepare_home()
        for name in WORKERS:
            self._temporary(name).mkdir()

    def wait_healthy(self, limit: float) -> None:
        """
        Wait until every component works, the workers too, of which Airflow tells nothing.

        :param limit: seconds.
        """
        super().wait_healthy(limit)
        for name in WORKERS:
            wait_for(
                lambda name=name: f"{name}@127.0.0.1 ready" in self.log_tail(name, 400),
                limit=limit,
                what=f"{name} to be ready",
                explain=lambda name=name: self.log_tail(name),
            )


@contextmanager
def local_cluster(
    home: Path,
    *,
    dags: tuple[Path, ...],
    env: Mapping[str, str],
    env_of: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> Iterator[Cluster]:
    """
    Run a cluster.

    :param home: folder for configuration and logs.
    :param dags: folders with DAG files.
    :param env: environment for all processes.
    :param env_of: what some components have besides, by their names.
    :raises NoCluster: PostgreSQL or Redis cannot be run here.
    """
    with ExitStack() as stack:
        try:
            postgres, redis = stack.enter_context(local_postgres()), stack.enter_context(local_redis())
        except (NoPostgres, NoRedis) as error:
            raise NoCluster(f"a cluster needs PostgreSQL and Redis. {error}") from error
        url = stack.enter_context(scratch_database(postgres.url))
        yield stack.enter_context(Cluster(home, postgres, redis, url, dags=dags, env=env, env_of=env_of))


def main() -> int:
    """Run until interrupted, and return the exit code."""
    # Processes are stopped on the way out, so a SIGTERM has to be a way out too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    home = STATE / "cluster" / "airflow"
    try:
        with chosen_service(8.0) as service:
            print(f"agents: {service.name}; starting a cluster of Airflow {AIRFLOW_VERSION} ...", flush=True)
            env = {**service.env, "XPANDER_EXAMPLE_OUTPUT": str(STATE / "cluster" / "enriched_tickets.csv")}
            with local_cluster(home, dags=(EXAMPLE_DAGS,), env=env) as cluster:
                print(f"\nOpen {cluster.url} - no login is needed. Ctrl-C stops everything.")
                print("Each of these is a process (group) of its own, with a log of its name in")
                print(f"{home.relative_to(ROOT)}/:")
                for name, component in cluster.components.items():
                    print(f"  {name:14} {component.processes()[0].pid}", flush=True)
                while True:
                    time.sleep(1)
    except (NoCluster, LocalAirflowError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped")
        return 0


if __name__ == "__main__":
    sys.exit(main())
