"""
The blocks of code in the documents.

An HTML comment in front of a block says how a test has to take it; a reader does not see it:

- ``<!-- not run: reason -->``
- ``<!-- not run before 3.3: reason -->``: only on this Airflow and newer
- ``<!-- file: path -->``: the test of the pytest plugin makes this file of it, and runs it
- ``<!-- before: code -->``, ``<!-- after: code -->``: a line of Python that the block needs to be run
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"((?:^<!-- .*? -->\n)*)^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"^<!-- ([\w .]+?): (.*?) -->$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One block: place, language, code, and the comments in front of it by their first words."""

    place: str
    language: str
    code: str
    comments: dict[str, str]

    def reason_not_to_run(self, airflow_version: str) -> str | None:
        """Return why the block is not run on a version of Airflow, or None if it is."""
        for words, reason in self.comments.items():
            since = re.fullmatch(r"not run before (\d+)\.(\d+)", words)
            version = tuple(map(int, airflow_version.split(".")[:2]))
            if words == "file":
                return "tests/testing/test_testing_dags.py runs it"
            if words == "not run" or (since and version < tuple(map(int, since.groups()))):
                return reason
        return None


def blocks(*languages: str) -> list[Block]:
    """Return the blocks of all documents that are in one of some languages."""
    return [
        Block(
            place=f"{document.relative_to(ROOT)}:{text[: found.start(2)].count(chr(10)) + 1}",
            language=found[2],
            code=found[3],
            comments=dict(COMMENT.findall(found[1])),
        )
        for document in DOCUMENTS
        for text in [document.read_text()]
        for found in BLOCK.finditer(text)
        if found[2] in languages
    ]
