"""The page of a task at the emulator, as HTML: what a person sees who follows the link of a run."""

from __future__ import annotations

import html
import json
from typing import Any

from airflow_provider_xpander.emulator.bodies import Body

_SHOWN = ("status", "agent_id", "title", "created_at", "started_at", "finished_at", "tokens")
_STYLE = (
    "body{font:15px sans-serif;max-width:60em;margin:2em auto}"
    "th{text-align:left;padding-right:2em}pre{white-space:pre-wrap;background:#eee;padding:1em}"
)


def task_page(body: Body, path: str) -> str:
    """
    Return the page of a task; it loads itself again until the task has ended.

    :param body: the task, as Get Task answers it. Credentials in it are not shown.
    :param path: path of the routes that act on the task.
    """
    rows = "".join(f"<tr><th>{name}<td>{_text(body[name])}" for name in _SHOWN if body.get(name))
    going_on = body["finished_at"] is None
    act = "resume" if body["status"] == "paused" else "finish"
    more = f"""<meta http-equiv=refresh content=2>
<p><button onclick="fetch('{html.escape(path)}/{act}', {{method: 'POST'}})">{act} it now</button>"""
    return f"""<!doctype html>
<title>{_text(body["status"])}: task {_text(body["id"])}</title>
<style>{_STYLE}</style>
<h1>Task {_text(body["id"])}</h1>
<p>A run of the emulator of xpander.ai.
<table>{rows}</table>
{more if going_on else ""}
<h2>Input</h2>
<pre>{_text((body.get("input") or {}).get("text"))}</pre>
<h2>Result</h2>
<pre>{_text(body["result"])}</pre>
"""


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, indent=1, ensure_ascii=False)
    return html.escape("" if value is None else text)
