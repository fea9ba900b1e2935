"""Log of a run of the emulator's agent ``storyteller``, as a reader sees it."""

from __future__ import annotations

import re
from collections.abc import Iterable

STORY_LOG = """\
Starting agent storyteller
agent storyteller runs as xpander task <id> (pending)
xpander task <id> is pending
xpander task <id> is executing
::group::Reasoning 1: The loads of last night failed. I look for similar tickets first. If there are some, \
the cause ma...
The loads of last night failed. I look for similar tickets first.
If there are some, the cause may be known already; else I ask the warehouse.
::endgroup::
::group::Plan 1: 0 of 3 steps done
[ ] Find similar tickets
[ ] Ask the warehouse
[ ] Write the report
::endgroup::
::group::Tool call 1: search_tickets - Look for precedents
Similar tickets may exist.
arguments: {"query": "load failed", "limit": 5, "headers": "***"}
::endgroup::
::group::Tool call 1: search_tickets answered
{"found": 2, "tickets": ["OPS-17", "OPS-23"]}
::endgroup::
Plan: 1 of 3 steps done: Find similar tickets
Somebody has to log in to Jira at https://login.example.com/connect?state=emulator
Logged in to Jira
Answer:
| Two tickets look alike.
| The warehouse has to tell more.
::group::Sub-agent 1: analyst
asks: Which loads failed last night?
::endgroup::
    analyst: xpander task <sub> is pending
::group::> analyst: Tool call 2: run_sql
    arguments:
        sql:
            SELECT status, count(*)
            FROM loads
            WHERE day = '2026-11-21'
            GROUP BY status
::endgroup::
::group::> analyst: Tool call 2: run_sql failed
    relation loads does not exist
::endgroup::
    analyst says:
    | The table is missing: somebody has dropped it.
::group::> analyst: xpander task <sub> completed
    The table loads is missing.
::endgroup::
::group::Reasoning 2: The cause is known
thought: Both tickets were about a dropped table too.
confidence: 0.9
::endgroup::
30 % of the agent's memory is used
The agent sums up what was said so far, because its memory is full
Plan: 3 of 3 steps done: Ask the warehouse, Write the report
Answer:
| The loads failed because the table `loads` was dropped.
| Restore it, then run them again.
xpander task <id> completed
xpander task <id> completed after <t> s with <n> tokens of emulated-1
The answer goes into XCom: Two tickets look alike. ... (xpander task <id>)
"""


def without_ids(lines: Iterable[str], task_id: str) -> str:
    """
    Return the lines of a log with what differs from run to run left out.

    :param task_id: of the run; other ids are those of sub-agents' tasks.
    """
    text = "\n".join([*lines, ""]).replace(task_id, "<id>")
    text = re.sub(r"xpander task [0-9a-f-]{36}", "xpander task <sub>", text)
    return re.sub(r"after \S+ s with \d+ tokens", "after <t> s with <n> tokens", text)
