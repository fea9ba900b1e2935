"""The Python in the documents: each block is a DAG file, or part of one, that ``dag.test()`` runs."""

from __future__ import annotations

import importlib
import re
import textwrap
from pathlib import Path

import pytest
from airflow import __version__ as airflow_version
from airflow_side import Service
from docs_blocks import Block, blocks
from docs_surroundings import BUCKET, approve, provide

from airflow_provider_xpander.api.settings import DEFAULT_BASE_URL

BLOCKS = blocks("python")
# What a block leaves out, because a reader has it or sees it from the text around.
FRAME = """
from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from airflow import DAG
from pydantic import BaseModel

try:
    from airflow.sdk import task
except ImportError:
    from airflow.decorators import task

from airflow_provider_xpander.operators.xpander import (
    XpanderInvokeAgentOperator,
    XpanderInvokeWorkflowOperator,
)
from airflow_provider_xpander.sensors.xpander import XpanderTaskSensor

RESULTS = f"file://{{Path(__file__).parent}}/results/"

with DAG("{name}", schedule=None) as dag:
"""
ANY_AGENT = re.compile(r'(agent_id=|\.agent\()"(?:\.\.\.|[0-9a-f-]{36})"')
STARTS_A_RUN = re.compile(r"Xpander(Invoke|Enrich|Branch)\w+(\.partial)?\(|@task\.xpander_|toolsets=")
OTHERWISE_ON_2_11 = re.compile(r"from \S+ import (.*)  # on Airflow 2\.11: from ([\w.]+).*")


def dag_file(name: str, block: Block) -> str:
    """Return what a reader makes of a block: a DAG file, with an agent that there is."""
    code = "\n".join([block.comments.get("before", ""), block.code, block.comments.get("after", "")])
    if "with DAG(" in code:
        code = re.sub(r"^(with DAG\(.*?\)):$", r"\1 as dag:", code, flags=re.MULTILINE | re.DOTALL)
    else:
        code = FRAME.format(name=name) + textwrap.indent(code, "    ")
    agent = "classifier" if "output_schema" in code else "echo"
    code = ANY_AGENT.sub(rf'\1"{agent}"', code)
    if airflow_version.startswith("2."):
        code = OTHERWISE_ON_2_11.sub(r"from \2 import \1", code)
    return code


@pytest.mark.usefixtures("loop")
@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_it_runs(block: Block, dags_folder: Path, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := block.reason_not_to_run(airflow_version):
        pytest.skip(reason)
    name = re.sub(r"\W", "_", block.place)
    for env, value in provide(block.code, dags_folder, service).items():
        monkeypatch.setenv(env, value)
    monkeypatch.setattr("airflow_provider_xpander.triggers.asking.persons_choice", approve)
    code = dag_file(name, block).replace(BUCKET, f"{dags_folder.as_uri()}/bucket/")
    code = code.replace(DEFAULT_BASE_URL, service.server.url)
    (dags_folder / f"{name}.py").write_text(code)
    importlib.invalidate_caches()

    module = importlib.import_module(name)

    dag = module.dag
    if dag.tasks:
        run = dag.test()
        assert run.state == "success", {one.task_id: one.state for one in run.get_task_instances()}
        assert service.runs() or not STARTS_A_RUN.search(block.code)
    else:
        assert not re.search(r"\w+(Operator|Sensor)\(", block.code)
