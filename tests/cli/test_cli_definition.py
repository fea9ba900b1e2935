"""The definition of the commands: light, and the same for Airflow as for the package's own program."""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import tomllib
from datetime import timedelta
from pathlib import Path

import pytest

from airflow_provider_xpander.cli.definition import COMMANDS, EXIT_CODES, arguments_of, duration, positive
from airflow_provider_xpander.cli.exits import BROKEN, DONE, GOES_ON, INTERRUPTED, NOT_COMPLETED, ORPHANS
from airflow_provider_xpander.cli.main import build_parser, main


def test_the_definition_and_the_parser_import_nothing_heavy() -> None:
    code = (
        "import sys, airflow_provider_xpander.cli.main as main; main.build_parser();"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    heavy = {"airflow", "requests", "httpx", "pydantic", "sqlalchemy", "yaml", "fastapi", "click", "rich"}
    assert not heavy & set(done.stdout.split())


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_each_command_can_be_carried_out_and_says_what_it_takes(command) -> None:
    module = importlib.import_module(f"airflow_provider_xpander.cli.{command.name}")
    assert callable(module.run)
    assert all(given.settings["help"] for given in arguments_of(command))


def test_the_console_script_leads_to_the_main_function() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    module, _, name = project["scripts"]["xpander-airflow"].partition(":")
    assert getattr(importlib.import_module(module), name) is main


def test_the_help_tells_each_exit_code() -> None:
    told = {int(line.split()[0]) for line in EXIT_CODES.splitlines()[1:]}
    assert told == {DONE, BROKEN, 2, NOT_COMPLETED, GOES_ON, ORPHANS, INTERRUPTED}


@pytest.mark.parametrize(
    ("given", "output"),
    [([], "table"), (["--json"], "json"), (["-o", "yaml"], "yaml"), (["-o", "json"], "json")],
)
def test_the_form_of_the_output(given: list[str], output: str) -> None:
    assert build_parser().parse_args(["get", "1", *given]).output == output


@pytest.mark.parametrize(
    ("text", "time"),
    [("90s", timedelta(seconds=90)), ("30m", timedelta(minutes=30)), ("7d", timedelta(days=7))],
)
def test_a_length_of_time(text: str, time: timedelta) -> None:
    assert duration(text) == time


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "1w", "1.5h"])
def test_no_length_of_time(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="such as 30m"):
        duration(text)


@pytest.mark.parametrize("text", ["0", "-3", "nan", "inf", "many"])
def test_no_positive_number(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="greater than 0"):
        positive(text)
