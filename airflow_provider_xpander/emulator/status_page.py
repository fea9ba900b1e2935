"""The first page of the emulator: its runs, calls and switches, as they are now."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.emulator.calls import Call
from airflow_provider_xpander.emulator.due import Due
from airflow_provider_xpander.emulator.page import page, text
from airflow_provider_xpander.emulator.settings import Settings
from airflow_provider_xpander.emulator.state import Emulator
from airflow_provider_xpander.emulator.tasks import Turn

_SHOWN = 50


def status_page(emulator: Emulator, url: str, tasks_path: str) -> str:
    """
    Return the page.

    :param emulator: the emulator.
    :param url: its base URL, as the browser knows it.
    :param tasks_path: path below which the page of each task is.
    """
    now = emulator.now()
    runs, calls = emulator.runs(), list(emulator.calls)
    statuses = Counter(run.at(now).status for run in runs)
    counted = " · ".join(
        f"{_badge(status)}&nbsp;{statuses[status]}" for status in TaskStatus if statuses[status]
    )
    main = f"""<h1>Emulator of xpander.ai</h1>
<p><code>{text(url)}</code> · {_time(now)} UTC{_clock(emulator)}
<p>{counted or '<span class="dim">No runs yet.</span>'}
<h2>Runs ({len(runs)})</h2>
{_runs(runs[: -_SHOWN - 1 : -1], now, tasks_path)}
<h2>Calls ({len(calls)})</h2>
{_calls(calls[: -_SHOWN - 1 : -1])}
<h2>Switches</h2>
{_switches(emulator.settings)}
<h2>Faults</h2>
{_faults([*emulator.faults, *emulator.run_faults])}
<h2>Agents</h2>
<p>{", ".join(map(text, emulator.agents.ids("agent") + emulator.agents.patterns()))}
<p class="dim">Workflows: {", ".join(map(text, emulator.agents.ids("workflow")))}"""
    connection = {"conn_type": "xpander", "host": url, "password": emulator.settings.api_keys[0]}
    beside = f"""<details><summary>Connect Airflow</summary>
<pre>export AIRFLOW_CONN_XPANDER_DEFAULT='{text(json.dumps(connection))}'</pre></details>"""
    return page("xpander.ai emulator", main, beside=beside)


def _runs(runs: Iterable[Turn], now: float, tasks_path: str) -> str:
    rows = []
    for run in runs:
        seen = run.at(now)
        end = seen.finished_at if seen.finished_at is not None else now
        link = f'<a href="{text(tasks_path)}/{text(run.task_id)}">{text(run.task_id[:8])}</a>'
        cells = [
            ("", _badge(seen.status)),
            ("agent", text(run.target_id)),
            ("task", link),
            ("title", text(run.body["title"] or run.text[:80])),
            ("started", _time(run.started)),
            ("took", f"{end - run.started:.1f} s"),
        ]
        rows.append(cells)
    return _table(rows, "Nobody has started a run.")


def _calls(calls: Iterable[Call]) -> str:
    rows = []
    for call in calls:
        bad = "bad" if call.status is None or call.status >= 400 else "completed"
        status = f'<span class="status {bad}">{call.status or "no answer"}</span>'
        query = "?" + "&".join(f"{name}={value}" for name, value in call.query.items()) if call.query else ""
        rows.append(
            [
                ("", status + (" fault" if call.faulted else "")),
                ("at", _time(call.at)),
                ("request", f"{text(call.method)} {text(call.path + query)}"),
            ]
        )
    return _table(rows, "Nobody has called.")


def _switches(settings: Settings) -> str:
    usual = Settings()
    # The keys are no switch, and a page may be shown around.
    changed = [
        [("switch", f"<code>{name}</code>"), ("is", text(value)), ("usually", text(getattr(usual, name)))]
        for name, value in settings.model_dump(exclude={"api_keys"}).items()
        if value != getattr(usual, name)
    ]
    return _table(changed, "All as usual.")


def _faults(faults: Sequence[Due]) -> str:
    rows = [
        [
            ("what", f"<code>{text(fault.model_dump_json(exclude_defaults=True, exclude={'body'}))}</code>"),
            ("happened", f"{fault.hits} of {fault.times or 'all'}"),
        ]
        for fault in faults
    ]
    return _table(rows, "None.")


def _table(rows: Sequence[Sequence[tuple[str, str]]], otherwise: str) -> str:
    """Return a table of cells with their names; on a phone each row is a block."""
    if not rows:
        return f'<p class="dim">{otherwise}'
    head = "".join(f"<th>{name}" for name, _ in rows[0])
    lines = "".join("<tr>" + "".join(_cell(name, cell) for name, cell in row) for row in rows)
    return f'<table class="list"><thead><tr>{head}<tbody>{lines}</table>'


def _cell(name: str, cell: str) -> str:
    return f'<td data-name="{name}">{cell}' if name else f"<td>{cell}"


def _badge(status: TaskStatus) -> str:
    return f'<span class="status {status.value}">{status.value}</span>'


def _time(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%H:%M:%S")


def _clock(emulator: Emulator) -> str:
    said = [f"{emulator.settings.speed:g} times as fast"] if emulator.settings.speed != 1 else []
    if not emulator.keeps_real_time:
        said.append("the clock stands still")
    return "".join(f" · {one}" for one in said)
