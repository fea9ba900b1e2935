"""Citations of the REST contract ("contract 2.5", "C4", "route 7"): each leads somewhere in docs/api.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "api.md"

_NUMBERS = r"\d+(?:\.\d+)?(?:(?:,| and| to) (?!\d+ ?[a-z])\d+(?:\.\d+)?)*"
SECTIONS = re.compile(rf"\b[Cc]ontract(?: page)?,? (?:sections? )?({_NUMBERS})")
ROUTES = re.compile(rf"\(routes? ({_NUMBERS})\)")
CONTRADICTION = re.compile(r"\bC(\d{1,2})\b")
# How the contract was cited before it came into the repository.
UNKNOWN = re.compile(r"\b[Ss]eeds? \d{3}\b")


def citations(text: str) -> Iterator[str]:
    """Yield what a text cites, as ``section 2.5``, ``C4`` or ``route 7``."""
    text = re.sub(r"\s*\n\s*(?:# )?", " ", text)
    for found in SECTIONS.finditer(text):
        yield from (f"section {number}" for number in re.findall(r"\d+(?:\.\d+)?", found[1]))
    for found in ROUTES.finditer(text):
        yield from (f"route {number}" for number in re.findall(r"\d+", found[1]))
    yield from (f"C{found[1]}" for found in CONTRADICTION.finditer(text))
    yield from (found[0] for found in UNKNOWN.finditer(text))


def destinations() -> list[str]:
    """Return all that can be cited, in the order of the document."""
    text = DOCUMENT.read_text()
    # The legend before and the advice after these sections mention contradictions, and define none.
    facts = text[text.index("\n## 1. ") : text.index("\n## 10. ")]
    return [
        *(f"section {number}" for number in re.findall(r"^##+ (\d+(?:\.\d+)?)[. ]", text, re.MULTILINE)),
        *(
            f"route {number}"
            for number in re.findall(r"^\| (\d+) \| (?:GET|POST|DELETE|`)", text, re.MULTILINE)
        ),
        *dict.fromkeys(
            f"C{number}"
            for bold in re.findall(r"\*\*[^*]+\*\*", facts)
            for number in CONTRADICTION.findall(bold)
        ),
    ]


def cited() -> Iterator[tuple[str, str]]:
    for folder in ("airflow_provider_xpander", "benchmarks", "dev", "docs", "tests"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".py", ".md") and path != Path(__file__):
                yield from ((str(path.relative_to(ROOT)), name) for name in citations(path.read_text()))


def test_each_citation_leads_somewhere() -> None:
    known, all_cited = set(destinations()), list(cited())
    assert len(all_cited) > 80, "the citations are written in a way that this test does not know"
    assert [f"{path}: {name}" for path, name in all_cited if name not in known] == []


def test_numbers_are_unique_and_complete() -> None:
    known = destinations()
    assert len(known) == len(set(known))
    for kind, last in (("section ", 13), ("route ", 18), ("C", 21)):
        assert {f"{kind}{number}" for number in range(1, last + 1)} <= set(known)


def test_each_source_is_explained() -> None:
    text = DOCUMENT.read_text()
    legend, facts = text.split("\n## 1. ", maxsplit=1)
    explained = set(re.findall(r"^\| `\[([a-z-]+)", legend, re.MULTILINE))
    # Such as [docs: get-task, stop-task, sdk: models/events.py]: what has no kind is of the one before.
    used = {
        source.strip().split(":")[0].split(" ")[0]
        for tag in re.findall(r"\[((?:workflow|agent|docs|sdk|cli|public)[^\]]*)\]", facts)
        for source in re.split("[;,]", tag)
        if ":" in source or re.match(r"\s*(?:workflow|agent)-", source)
    }
    assert len(used) > 5
    assert used <= explained


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("as answered (contract 2.5).", ["section 2.5"]),
        ("(contract section 4)", ["section 4"]),
        ("(contract 2.4 to 2.8, C3)", ["section 2.4", "section 2.8", "C3"]),
        ("in JSON (contract\n    # 2.5, 2.8 and 4), pure", ["section 2.5", "section 2.8", "section 4"]),
        ("Start a run (routes 2 and 5)", ["route 2", "route 5"]),
        ("as in seed 001", ["seed 001"]),
        ("Airflow 3.3, section 2 of a page, route 7 to the sea", []),
    ],
)
def test_what_counts_as_a_citation(text: str, names: list[str]) -> None:
    assert list(citations(text)) == names
