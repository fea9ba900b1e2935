"""Metrics in the documents: the list is complete, and the example alerts use names that exist."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from dev.public_names import metrics

ROOT = Path(__file__).parent.parent
METRICS = metrics()


def test_the_list_of_metrics_is_complete() -> None:
    text = (ROOT / "docs" / "operators.md").read_text()
    told = set(re.findall(r"^\|.*$", text, re.MULTILINE))
    named = {name for row in told for name in re.findall(r"`(xpander\.[a-z_.]+)`", row.split("|")[1])}
    assert len(METRICS) > 5
    assert named == METRICS


def test_the_example_alerts_use_metrics_that_exist() -> None:
    text = (ROOT / "docs" / "production.md").read_text()
    example = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert example
    rules = yaml.safe_load(example[1])["groups"][0]["rules"]
    used = {
        name
        for rule in rules
        for name in re.findall(r"airflow_(xpander_[a-z_]+?)(?:_total)?\b", rule["expr"])
    }
    assert len(used) > 3
    assert used <= {name.replace(".", "_") for name in METRICS}
