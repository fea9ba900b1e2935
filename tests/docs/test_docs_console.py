"""The commands in the documents: each is run, as far as it needs neither package index nor clone."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow import __version__ as airflow_version
from dag_database import airflow
from docs_blocks import ROOT, blocks
from test_docs_python import dag_file

from airflow_provider_xpander.hooks.xpander import XpanderHook

# What stands in several documents is run once.
PLACES = {
    line: block.place
    for block in blocks("bash")
    if block.reason_not_to_run(airflow_version) is None
    for line in block.code.splitlines()
}
LINES = [pytest.param(line, id=f"{place} {line[:40]}") for line, place in PLACES.items()]
EMULATOR = "python -m airflow_provider_xpander.emulator"
CONNECTION = re.compile(r"export (AIRFLOW_CONN_\w+)='(.*)'")


@pytest.fixture(scope="module")
def emulator() -> Iterator[str]:
    """The emulator as the documents start it, on a free port; gives the line that it prints."""
    (command,) = (line for line in PLACES if line.startswith(EMULATOR))
    arguments = shlex.split(command.replace("8090", "0"))[1:]
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline()
        finally:
            process.terminate()


@pytest.mark.parametrize("line", LINES)
def test_it_works(
    line: str, emulator: str, dags_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = shlex.split(line, comments=True)
    if line.startswith(EMULATOR):
        assert "xpander-emulator-key-0000" in emulator
    elif connection := CONNECTION.fullmatch(line):
        check_connection(connection[1], connection[2], emulator, monkeypatch)
    elif words[:3] == ["airflow", "dags", "test"]:
        check_dag(words[3], emulator, dags_folder, monkeypatch)
    elif words[0] == "airflow":
        airflow(*words[1:])
    elif words[0] in ("mkdir", "source") or words[1:3] == ["-m", "venv"]:
        check_in_a_home(line, tmp_path)
    elif words[0] == "make":
        # Not with what a make around the tests has been asked for.
        env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        command = ["make", "--dry-run", *words[1:]]
        done = subprocess.run(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, timeout=60, check=False)
        assert done.returncode == 0, done.stderr.decode()
    else:
        assert words[:2] == ["pip", "install"], "a command that this test does not know"
        assert words[2].partition("[")[0] == "airflow-provider-xpander"


def check_in_a_home(line: str, home: Path) -> None:
    """Run a line in a shell whose home is empty but for the virtual environment of the documents."""
    shell = f"python3 -m venv --without-pip ~/xpander-venv && {line}"
    env = {**os.environ, "HOME": str(home)}
    subprocess.run(["bash", "-c", shell], env=env, check=True, timeout=60)


def check_dag(dag_id: str, emulator: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a DAG of the documents as its reader does, with the connection that stands before it."""
    (block,) = [block for block in blocks("python") if f'DAG("{dag_id}"' in block.code]
    (folder / f"{dag_id}.py").write_text(dag_file(dag_id, block))
    (connection,) = (
        found
        for line in PLACES
        if (found := CONNECTION.fullmatch(line)) and ":8090" in found[2] and "http://" in found[2]
    )
    check_connection(connection[1], connection[2], emulator, monkeypatch)
    with XpanderHook() as hook:
        before = len(list(hook.list_tasks(agent_id="echo")))
        airflow("dags", "test", dag_id)
        assert [run.status for run in hook.list_tasks(agent_id="echo")] == ["completed"] * (before + 1)


def check_connection(name: str, value: str, emulator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read a connection that a document shows; ask the service, if it is the emulator."""
    port = re.search(r"http://127\.0\.0\.1:(\d+)", emulator)
    assert port, emulator
    key = "xpander-emulator-key-0000"
    monkeypatch.setenv(name, value.replace("<API key>", key).replace(":8090", f":{port[1]}"))
    with XpanderHook() as hook:
        assert hook.settings.api_key == key
        if ":8090" in value:
            assert hook.test_connection()[0], hook.test_connection()[1]
