"""Workflows of GitHub, as far as that shows without running them, and the look before a release."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev.check_release import problems

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def jobs(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text())["jobs"])


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in jobs(path).values() for step in job["steps"]]


def test_each_make_target_exists() -> None:
    targets = set()
    for path in WORKFLOWS:
        for job in jobs(path).values():
            matrix = job.get("strategy", {}).get("matrix", {})
            versions = matrix.get("airflow", [entry["airflow"] for entry in matrix.get("include", [])])
            for step in job["steps"]:
                for target in re.findall(r"^make ([^\n]+)$", step.get("run", ""), re.MULTILINE):
                    targets |= {
                        target.replace("${{ matrix.airflow }}", version).split()[0]
                        for version in versions or [""]
                    }
    assert len(targets) > 4
    done = subprocess.run(
        ["make", "--dry-run", *sorted(targets)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_each_version_of_airflow_has_its_jobs() -> None:
    makefile = (ROOT / "Makefile").read_text()
    listed = re.findall(r"^(NEWEST|OLDEST|BETWEEN) := (.+)$", makefile, re.MULTILINE)
    of = {name: set(versions.split()) for name, versions in listed}
    ci = jobs(ROOT / ".github" / "workflows" / "ci.yml")
    tried = {
        job: {entry["airflow"] for entry in ci[job]["strategy"]["matrix"]["include"]}
        for job in ("in-process", "between")
    }
    assert tried == {"in-process": of["NEWEST"] | of["OLDEST"], "between": of["BETWEEN"]}
    for job in ("on-processes", "wheel"):
        assert set(ci[job]["strategy"]["matrix"]["airflow"]) == of["NEWEST"] | of["OLDEST"]
    assert set(ci["passed"]["needs"]) == ci.keys() - {"passed"}


def test_each_command_can_be_run_elsewhere_too() -> None:
    """But for the one that asks how the other jobs have ended."""
    runs = [step["run"] for path in WORKFLOWS for step in steps(path) if "run" in step]
    assert [run for run in runs if not re.fullmatch(r"make [^\n]+", run)] == [
        step["run"] for step in jobs(ROOT / ".github" / "workflows" / "ci.yml")["passed"]["steps"]
    ]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_and_may_do_little(path: Path) -> None:
    assert yaml.safe_load(path.read_text())["permissions"] == {}
    for step in steps(path):
        assert re.search(r"@[0-9a-f]{40}$", step.get("uses", "@" + "0" * 40)), step
    written = {
        permission for job in jobs(path).values() for permission in job.get("permissions", {}).items()
    } - {("contents", "read")}
    assert written == ({("id-token", "write")} if path.name == "release.yml" else set())


def test_the_repository_has_one_address() -> None:
    """Who publishes it stands in ``pyproject.toml`` only; ``make owner`` replaces it there."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    urls = pyproject["project"]["urls"]
    assert all(url.startswith(urls["Source"]) for url in urls.values())
    (substitution,) = pyproject["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]
    assert substitution["replacement"].startswith(f"]({urls['Source']}/blob/main/")
    name = urls["Source"].rpartition("/")[2]
    texts = [*ROOT.glob("*.*"), *(path for top in ("docs", ".github") for path in (ROOT / top).rglob("*.*"))]
    elsewhere = [
        path.relative_to(ROOT)
        for path in texts
        if path.suffix in {".md", ".yml", ".toml"}
        and re.search(rf"github\.com/[^/\s]+/{name}", path.read_text())
    ]
    assert elsewhere == [Path("pyproject.toml")]


def test_the_owner_is_replaced_everywhere(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    before = (tmp_path / "pyproject.toml").read_text()
    owner = re.search(r"github\.com/([^/]+)/", before)
    assert owner
    subprocess.run(
        ["make", "owner", "NAME=acme-2"], cwd=tmp_path, capture_output=True, timeout=60, check=True
    )
    after = (tmp_path / "pyproject.toml").read_text()
    assert after == before.replace(f"github.com/{owner[1]}/", "github.com/acme-2/")
    assert after != before


CHANGELOG = "# Changes\n\n## [Unreleased]\n\n## [1.2.0] - 2026-12-01\n\n- New.\n\n## [1.1.0] - 2026-11-01\n"


@pytest.mark.parametrize(
    ("tag", "version", "owner", "found"),
    [
        ("v1.2.0", "1.2.0", "acme", []),
        ("v1.2.1", "1.2.0", "acme", ["the tag is v1.2.1"]),
        ("v1.3.0", "1.3.0", "acme", ["no section"]),
        ("v1.1.0", "1.1.0", "acme", ["is empty"]),
        ("v1x2.0", "1x2.0", "acme", ["no section"]),
        ("v1.2.0", "1.2.0", "OWNER", ["nobody publishes it"]),
    ],
)
def test_what_keeps_a_release_back(tag: str, version: str, owner: str, found: list[str]) -> None:
    said = problems(tag, version, CHANGELOG, f"https://github.com/{owner}/airflow-provider-xpander")
    assert len(said) == len(found)
    assert all(part in text for part, text in zip(found, said, strict=True))
