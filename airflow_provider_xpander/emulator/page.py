"""The pages of the emulator for a browser: their frame, and the page of a task, where a run's link leads."""

from __future__ import annotations

import html
import json
from typing import Any

from airflow_provider_xpander.emulator.bodies import Body

_SHOWN = ("status", "agent_id", "title", "created_at", "started_at", "finished_at", "tokens")
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --dim: light-dark(#5f6368, #9aa0a6) }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 70em; margin: 0 auto; padding: 1em }
h1 { font-size: 1.4em } h2 { font-size: 1.1em; margin: 1.6em 0 .4em }
table { border-collapse: collapse; width: 100% }
th { text-align: left; font-weight: 600; color: var(--dim) }
th, td { padding: .3em .8em .3em 0; border-bottom: 1px solid var(--line); vertical-align: top }
td { overflow-wrap: anywhere }
table.list td { overflow-wrap: normal }
table.list td[data-name=took] { white-space: nowrap }
table.list :is([data-name=title], [data-name=request], [data-name=what]) { overflow-wrap: anywhere }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--soft); padding: .8em }
code { overflow-wrap: anywhere }
a { color: light-dark(#0b57d0, #8ab4f8) }
.dim { color: var(--dim) }
.status { padding: 0 .5em; border-radius: 1em; background: var(--soft); white-space: nowrap }
.completed { background: light-dark(#d6f5dd, #12421f) }
.failed, .error, .bad { background: light-dark(#fbdcd9, #5c1a14) }
.stopped { background: light-dark(#e6e6e6, #3c3c3c) }
.executing, .pending { background: light-dark(#dbe8fd, #173a6b) }
.paused { background: light-dark(#fdf0cc, #574204) }
@media (max-width: 40em) {
  table.list thead { display: none }
  table.list tr { display: flex; flex-wrap: wrap; gap: 0 .8em; padding: .4em 0 }
  table.list tr { border-bottom: 1px solid var(--line) }
  table.list td { border: 0; padding: 0; overflow-wrap: anywhere }
  table.list td[data-name]::before { content: attr(data-name) " "; color: var(--dim) }
  table.list td[data-name=title], table.list td[data-name=request] { flex-basis: 100% }
}
"""
# The part that changes is fetched again and put in the place of the old one, so that nothing jumps.
_LIVE = """
<script>
setInterval(async () => {
  try {
    const page = new DOMParser().parseFromString(await (await fetch(location.href)).text(), "text/html")
    document.querySelector("main").replaceWith(page.querySelector("main"))
  } catch { document.querySelector("main").style.opacity = .4 }
}, 2000)
</script>
<noscript><meta http-equiv="refresh" content="2"></noscript>
"""


def page(title: str, main: str, *, beside: str = "", live: bool = True) -> str:
    """
    Return a page.

    :param title: its title, as text.
    :param main: the part that changes, as HTML.
    :param beside: what stays below it, as HTML.
    :param live: whether the page loads that part again every two seconds.
    """
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{text(title)}</title>
<style>{_STYLE}</style>
<main>
{main}
</main>
{beside}
{_LIVE if live else ""}
"""


def task_page(body: Body, path: str) -> str:
    """
    Return the page of a task; it loads itself again until the task has ended.

    :param body: the task, as Get Task answers it. Credentials in it are not shown.
    :param path: path of the routes that act on the task.
    """
    rows = "".join(f"<tr><th>{name}<td>{text(body[name])}" for name in _SHOWN if body.get(name))
    going_on = body["finished_at"] is None
    act = "resume" if body["status"] == "paused" else "finish"
    button = (
        f"<p><button onclick=\"fetch('{html.escape(path)}/{act}', {{method: 'POST'}})\">{act} it now</button>"
    )
    main = f"""<h1>Task {text(body["id"])}</h1>
<p>A run of the <a href="/">emulator of xpander.ai</a>.
<table>{rows}</table>
{button if going_on else ""}
<h2>Input</h2>
<pre>{text((body.get("input") or {}).get("text"))}</pre>
<h2>Result</h2>
<pre>{text(body["result"])}</pre>"""
    return page(f"{body['status']}: task {body['id']}", main, live=going_on)


def text(value: Any) -> str:
    """
    Return a value as HTML text.

    :param value: text, or data, which is shown as JSON; None is empty.
    """
    shown = value if isinstance(value, str) else json.dumps(value, indent=1, ensure_ascii=False)
    return html.escape("" if value is None else shown)
