"""`make test-wheel`: whether the installed package is whole, in an environment with nothing but the wheel."""

from __future__ import annotations

import importlib
import os
import re
import runpy
import subprocess
import sys
import tempfile
import urllib.request
from importlib.metadata import entry_points, metadata, version
from importlib.resources import files
from pathlib import Path

PUBLIC_NAMES = {
    "airflow_provider_xpander.hooks.xpander": ["XpanderHook"],
    "airflow_provider_xpander.operators.xpander": [
        "XpanderInvokeAgentOperator",
        "XpanderInvokeWorkflowOperator",
    ],
    "airflow_provider_xpander.triggers.xpander": ["XpanderTaskTrigger"],
    "airflow_provider_xpander.sensors.xpander": ["XpanderTaskSensor"],
}


def main() -> None:
    """Check everything; the first failure ends with a message and a code that is not 0."""
    with tempfile.TemporaryDirectory() as home:
        # Before anything imports Airflow: it writes its configuration there.
        os.environ["AIRFLOW_HOME"] = home
        check_files()
        check_description()
        check_public_names()
        check_examples()
        check_entry_points()
        check_discovery()
        check_emulator()
    print(f"airflow-provider-xpander {version('airflow-provider-xpander')} is whole", flush=True)


def check_files() -> None:
    """The package comes from the environment, not from a checkout, and carries its type marker."""
    package = files("airflow_provider_xpander")
    require(Path(str(package)).is_relative_to(sys.prefix), f"{package} is not the installed package")
    require(package.joinpath("py.typed").is_file(), "py.typed is missing")


def check_description() -> None:
    """The README leads everywhere from PyPI too."""
    description = str(metadata("airflow-provider-xpander").get_payload())
    require("# xpander.ai provider" in description, "the README is missing")
    relative = re.findall(r"\]\((?![a-z]+:)[^)]*\)", description)
    require(not relative, f"links that lead nowhere on PyPI: {relative}")


def check_public_names() -> None:
    """Everything that a DAG author imports is there."""
    for module, names in PUBLIC_NAMES.items():
        for name in names:
            require(hasattr(importlib.import_module(module), name), f"{module}.{name} is missing")


def check_examples() -> None:
    """The example DAGs are in the package, with their data, and can be parsed."""
    examples = Path(str(files("airflow_provider_xpander"))) / "example_dags"
    require((examples / "data").is_dir(), f"{examples} has no data")
    found = sorted(examples.glob("example_xpander_*.py"))
    require(found, f"no examples in {examples}")
    for path in found:
        runpy.run_path(str(path))


def check_entry_points() -> None:
    """The command line is there, and pytest finds the plugin."""
    script = Path(sys.executable).with_name("xpander-airflow")
    told = subprocess.run(
        [script, "--help"], stdout=subprocess.PIPE, text=True, timeout=60, check=True
    ).stdout
    require("orphans" in told, f"{script} does not tell its commands:\n{told}")
    plugins = {entry.name: entry.value for entry in entry_points(group="pytest11")}
    require(plugins.get("xpander") == "airflow_provider_xpander.testing.plugin", f"no plugin in {plugins}")


def check_discovery() -> None:
    """Airflow lists the provider."""
    listed = subprocess.run(
        [sys.executable, "-m", "airflow", "providers", "list", "--output", "plain"],
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    found = [line for line in listed.splitlines() if line.startswith("airflow-provider-xpander")]
    require(found, f"airflow providers list does not show the provider:\n{listed}")
    print(found[0], flush=True)


def check_emulator() -> None:
    """The emulator starts and answers."""
    from airflow_provider_xpander.emulator.server import EmulatorServer

    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with EmulatorServer() as emulator, direct.open(f"{emulator.url}/health", timeout=10) as answer:
        require(answer.status == 200, f"the emulator answers {answer.status}")


def require(condition: object, message: str) -> None:
    """
    End with a message unless the condition holds.

    :param condition: what has to be true.
    :param message: what is wrong otherwise.
    """
    if not condition:
        sys.exit(message)


if __name__ == "__main__":
    main()
