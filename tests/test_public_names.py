"""Public names: what is stable is what is written down; ``make names`` writes it anew."""

from __future__ import annotations

from dev.public_names import GOLDEN, PAGE, collect, on_page, render


def test_the_public_names_are_those_that_are_written_down() -> None:
    written, now = GOLDEN.read_text().splitlines(), render(collect()).splitlines()
    gone, new = sorted(set(written) - set(now)), sorted(set(now) - set(written))
    assert (gone, new) == ([], []), "a change that users see: run `make names`, and say it in CHANGELOG.md"
    assert written == now


def test_the_page_about_stability_lists_them() -> None:
    assert PAGE.read_text() == on_page(PAGE.read_text(), collect()), "run `make names`"


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
