"""Dependencies: each has a reason in ``docs/design.md``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
REASONS = (ROOT / "docs" / "design.md").read_text()


def dependencies() -> Iterator[str]:
    """Yield the names of all that the package, its tests and its tools depend on."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = pyproject["project"]
    lists = [
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *pyproject["dependency-groups"].values(),
        pyproject["build-system"]["requires"],
        (ROOT / "requirements" / "tools.txt").read_text().splitlines(),
    ]
    for requirement in (one for listed in lists for one in listed if isinstance(one, str)):
        if name := re.match(r"[\w.-]+", requirement):
            yield name[0]


def test_each_has_a_reason() -> None:
    names = set(dependencies()) - {"apache-airflow", "pytest"}
    assert len(names) > 20
    assert {name for name in names if f"`{name}" not in REASONS} == set()
