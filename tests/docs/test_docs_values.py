"""The allowed values in the documents are those of the request."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest
from docs_blocks import ROOT

from airflow_provider_xpander.api.request import OutputFormat, ReasoningEffort, ThinkMode, User

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
