"""
The way of a reader through one invocation: the files and functions of the package that it enters.

    .venv/airflow-3.3.2/bin/python -m benchmarks.entered            a line for each mode
    .venv/airflow-3.3.2/bin/python -m benchmarks.entered --files    and the files

Each mode runs once to import what it needs, then once more under ``sys.setprofile``. What is counted is each
function of the package but the emulator's that is entered from ``execute`` to the answer: for a deferred task
that is ``execute``, the trigger's ``run`` and ``execute_complete``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType
from typing import Any

PACKAGE = Path(__file__).parent.parent / "airflow_provider_xpander"
MODES: dict[str, dict[str, Any]] = {
    "sync": {"mode": "sync", "deferrable": False},
    "async": {"deferrable": False},
    "deferrable": {"deferrable": True},
    "stream": {"mode": "stream", "deferrable": False},
}


class Entered:
    """The functions that are entered while it is in force, by file."""

    def __init__(self) -> None:
        self.functions: dict[str, set[tuple[str, int]]] = {}

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        """Take note of a call."""
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(str(PACKAGE)) or code.co_name == "<module>":
            return
        name = str(Path(code.co_filename).relative_to(PACKAGE))
        if not name.startswith("emulator"):
            self.functions.setdefault(name, set()).add((code.co_qualname, code.co_firstlineno))

    def __enter__(self) -> Entered:
        threading.setprofile(self)
        sys.setprofile(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]


class TaskInstance:
    """A first try, as far as the operators look at it."""

    dag_id, task_id, run_id, map_index = "nightly", "ask", "manual__2026-11-01", -1
    try_number, max_tries, start_date = 1, 0, None

    def __init__(self) -> None:
        self.xcom: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcom[key] = value

    def xcom_pull(self, task_ids: Any = None, key: str = "return_value", map_indexes: Any = None) -> Any:
        return self.xcom.get(key)

    def get_template_context(self) -> dict[str, Any]:
        return {}


async def _fire(trigger: Any) -> Any:
    async for event in trigger.run():
        return event.payload
    return None


def invoke(changes: dict[str, Any]) -> None:
    """
    Run one invocation to its answer.

    :param changes: the operator's arguments that are not the default.
    """
    from airflow_provider_xpander._compat import TaskDeferred
    from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator

    operator = XpanderInvokeAgentOperator(task_id="ask", agent_id="echo", input="hello", **changes)
    context: Any = {"ti": TaskInstance(), "params": {}}
    operator.render_template_fields(context)
    entered = Entered()
    with entered:
        try:
            answer = operator.execute(context)
        except TaskDeferred as deferred:
            payload = json.loads(json.dumps(asyncio.run(_fire(deferred.trigger))))
            kwargs = json.loads(json.dumps(deferred.kwargs or {}))
            answer = operator.resume_execution(deferred.method_name, {"event": payload, **kwargs}, context)
    assert answer == "hello", answer
    global last
    last = entered


last = Entered()


def main() -> None:
    """Measure all modes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", action="store_true", help="name the files")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"AIRFLOW_HOME": home, "AIRFLOW__CORE__UNIT_TEST_MODE": "True"}
        os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
        from airflow_provider_xpander.emulator import EmulatorServer, Settings

        with EmulatorServer(settings=Settings(run_seconds=0.3)) as server:
            connection = {"conn_type": "xpander", "host": server.url, "password": server.api_key}
            os.environ["AIRFLOW_CONN_XPANDER_DEFAULT"] = json.dumps(connection)
            for mode, changes in MODES.items():
                invoke(changes)
                invoke(changes)
                files = sorted(last.functions)
                functions = sum(len(names) for names in last.functions.values())
                print(f"{mode}: {len(files)} files, {functions} functions")
                if options.files:
                    print("  " + "\n  ".join(f"{len(last.functions[name]):3} {name}" for name in files))


if __name__ == "__main__":
    main()
