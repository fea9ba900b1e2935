"""The parameters in the documents are those of the operators, with their defaults and allowed values."""

from __future__ import annotations

import inspect
import re
from typing import Any, get_args

import pytest
from docs_blocks import ROOT

from airflow_provider_xpander.api.request import OutputFormat, ReasoningEffort, ThinkMode, User
from airflow_provider_xpander.operators.base import XpanderRequestOperator

VALUES = {"output_format": OutputFormat, "think_mode": ThinkMode, "llm_reasoning_effort": ReasoningEffort}


def row(parameter: str) -> str:
    """Return what docs/operators.md says of a parameter in its table of what is sent."""
    text = (ROOT / "docs/operators.md").read_text()
    found = re.search(rf"^\| `{parameter}` \| (.*) \|$", text, re.MULTILINE)
    assert found, parameter
    return found[1]


@pytest.mark.parametrize(("parameter", "allowed"), VALUES.items())
def test_a_parameter_has_these_values(parameter: str, allowed: Any) -> None:
    assert re.findall(r"`(\w+)`", row(parameter)) == list(get_args(allowed))


def test_a_user_has_these_fields() -> None:
    assert set(re.findall(r"`(\w+)`", row("user"))) == set(User.model_fields)


def test_the_readme_has_every_parameter_with_its_default() -> None:
    text = (ROOT / "README.md").read_text().partition("Both operators take:")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \| (.*?) \|", text, re.MULTILINE)
    shown = {name: default for names, default in rows for name in re.findall(r"`(\w+)`", names)}
    signature = inspect.signature(XpanderRequestOperator.__init__).parameters
    takes = {name for name, one in signature.items() if one.kind is inspect.Parameter.KEYWORD_ONLY}
    assert set(shown) == takes - {"agent_id", "workflow_id"}
    for name, default in shown.items():
        # Where None is the default, the table says what that means.
        value = signature[name].default
        assert value is None or default.strip("`") == str(value).removesuffix(".0"), name
