"""Links and paths in the documents: each leads to something that is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "airflow_provider_xpander"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / ".github").rglob("*.md")])
# The history speaks of what was there; the rest is made by commands.
UNCHECKED = ("CHANGELOG.md",)
MADE = (".local/", ".venv", "dist/")

BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
# ``api/client.py``, ``tests/e2e/``, ``docs/errors.md``; not ``/v1/tasks`` and not ``text/event-stream``.
# In blocks of code: the paths of programs and modules.
IN_BLOCK = re.compile(r"(?<![\w/.-])((?:[\w-]+/)*[\w-]+\.py)\b")
PATH = re.compile(r"^(?:[\w.-]+/)*(?:[\w-]+\.(?:py|md|toml|txt|in|yml)|[\w.-]+/)$")


def without_blocks(text: str) -> str:
    return BLOCK.sub("", text)


def anchors(text: str) -> set[str]:
    """Return what can be linked to in a document, as GitHub makes it out of headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def dead_links(document: Path, text: str) -> Iterator[str]:
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (document.parent / path).resolve() if path else document
        if not there.exists() or (anchor and anchor not in anchors(there.read_text())):
            yield target


def missing_paths(document: Path, text: str) -> Iterator[str]:
    """Yield paths that are neither below the checkout nor the package, nor beside a path named before."""
    folders = {ROOT, PACKAGE, document.parent}
    readers = set(re.findall(r"^<!-- file: (\S+) -->$", text, re.MULTILINE))  # files that the reader writes
    for name in [*CODE.findall(without_blocks(text)), *IN_BLOCK.findall("\n".join(BLOCK.findall(text)))]:
        file, _, test = name.partition(".py::")
        file += ".py"
        if test and not ((ROOT / file).exists() and re.search(rf"\bdef {test}\(", (ROOT / file).read_text())):
            yield name
        if not PATH.match(name) or name.startswith(MADE):
            continue
        found = next((folder / name for folder in folders if (folder / name).exists()), None)
        if found is not None:
            folders.add(found.parent if found.is_file() else found)
        elif name not in readers and ("/" in name or name.endswith(".py")):
            yield name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_link_and_path_leads_somewhere(document: Path) -> None:
    if document.name in UNCHECKED:
        pytest.skip("speaks of the past")
    text = document.read_text()
    assert [*dead_links(document, without_blocks(text)), *missing_paths(document, text)] == []
