"""Public names: what is stable is what is written down; ``make names`` writes it anew."""

from __future__ import annotations

import re

from dev.public_names import GOLDEN, PAGE, collect, on_page, render


def test_the_public_names_are_those_that_are_written_down() -> None:
    written, now = GOLDEN.read_text().splitlines(), render(collect()).splitlines()
    gone, new = sorted(set(written) - set(now)), sorted(set(now) - set(written))
    assert (gone, new) == ([], []), "a change that users see: run `make names`, and say it in CHANGELOG.md"
    assert written == now


def test_the_page_about_stability_lists_them() -> None:
    assert PAGE.read_text() == on_page(PAGE.read_text(), collect()), "run `make names`"


def test_what_the_documents_import_is_among_them() -> None:
    classes = set(collect()["Classes, functions and constants"])
    imports = re.compile(r"^\s*from airflow_provider_xpander\.([\w.]+) import ([\w, ]+)", re.MULTILINE)
    documents = [GOLDEN.parents[2] / "README.md", *PAGE.parent.glob("*.md")]
    shown = {
        f"{module}.{name.strip()}"
        for path in documents
        for module, names in imports.findall(path.read_text())
        for name in names.split(",")
    }
    assert len(shown) > 10
    # The inner modules of the emulator are experimental.
    assert {name for name in shown - classes if not name.startswith("emulator.")} == set()


def test_the_reference_has_each_of_them() -> None:
    """Exceptions are there as the members of their module."""
    reference = (PAGE.parent / "reference.md").read_text()
    names = collect()
    classes = {name for name in names["Classes, functions and constants"] if ".errors." not in name}
    shown = {name.rpartition(".")[2] for name in classes} | set(names["XCom keys"])
    assert {name for name in shown if not re.search(rf"\b{name}\b", reference)} == set()


def test_the_binding_names_are_among_them() -> None:
    names = {name for listed in collect().values() for name in listed}
    assert names >= {
        "hooks.xpander.XpanderHook",
        "operators.xpander.XpanderInvokeAgentOperator(on_invalid = 'fail')",
        "hooks.xpander.XpanderHook.stop_task(task_id)",
        "xpander_task_id",
        "xpander.run.ended",
        "[xpander] deployment",
        "requests_per_minute",
    }
