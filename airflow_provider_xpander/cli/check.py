"""The command ``check``: tells what a person would otherwise find out at night."""

from __future__ import annotations

import argparse
import json
import secrets
import time
from collections.abc import Iterator
from typing import Any, TextIO

from airflow_provider_xpander._compat import AirflowNotFoundException
from airflow_provider_xpander.api import routes
from airflow_provider_xpander.api.errors import XpanderError, XpanderServiceError
from airflow_provider_xpander.api.exchange import NoReply, Reply, Send, Steps
from airflow_provider_xpander.api.models import Target, Task, TaskPage
from airflow_provider_xpander.api.text import printable
from airflow_provider_xpander.cli.exits import BROKEN, DONE
from airflow_provider_xpander.cli.findings import (
    Finding,
    State,
    about_clock,
    about_limits,
    about_marks,
    about_proxy,
    about_service,
    about_trial,
)
from airflow_provider_xpander.cli.output import rendered
from airflow_provider_xpander.connection import unknown_fields
from airflow_provider_xpander.hooks.connection_check import ask
from airflow_provider_xpander.hooks.xpander import XpanderHook
from airflow_provider_xpander.runs.identity import read_mark
from airflow_provider_xpander.runs.lookup import get_known
from airflow_provider_xpander.runs.stop_policy import not_stopped
from airflow_provider_xpander.runs.watch import End, Watch


def run(arguments: argparse.Namespace, out: TextIO) -> int:
    """
    Carry out the command.

    :param arguments: as they were parsed.
    :param out: where to print.
    """
    with XpanderHook(arguments.conn_id) as hook:
        findings = list(_findings(hook, arguments))
    print(rendered([finding.row() for finding in findings], arguments.output), file=out)
    return BROKEN if any(finding.state is State.BAD for finding in findings) else DONE


def _findings(hook: XpanderHook, arguments: argparse.Namespace) -> Iterator[Finding]:
    try:
        settings = hook.settings
        extra = hook.get_connection(hook.xpander_conn_id).extra
        proxy = about_proxy(settings)
    except (AirflowNotFoundException, ValueError, XpanderError) as error:
        yield Finding("connection", State.BAD, str(error))
        return
    unknown = unknown_fields(hook.xpander_conn_id, extra)
    said = f"{hook.xpander_conn_id} leads to {settings.base_url}"
    yield Finding("connection", State.DOUBTFUL if unknown else State.GOOD, f"{said}. {unknown or ''}".strip())
    yield proxy
    fine, said = ask(hook.get_conn())
    yield from about_service(settings, fine, said)
    if not fine:
        return
    try:
        reply, sent, came = hook.run(_first_page())
        yield about_clock(reply.headers, sent, came)
        yield about_limits(reply.headers, settings)
        yield _marks(hook, reply)
    except XpanderError as error:
        yield Finding("runs", State.BAD, str(error))
        return
    yield from _visible(hook, arguments)
    if arguments.invoke:
        yield _trial(hook, arguments.invoke, arguments.timeout)


def _first_page() -> Steps[tuple[Reply, float, float]]:
    """Read the newest tasks, and return the whole reply, with the times before and after."""
    call, sent = routes.list_tasks(), time.time()
    reply = yield Send(call)
    if isinstance(reply, NoReply):
        raise XpanderError(f"{call.what}: {reply.reason}.")
    if not isinstance(reply, Reply) or reply.status != 200:
        status = reply.status if isinstance(reply, Reply) else None
        raise XpanderServiceError(f"{call.what}: HTTP {status}.", status_code=status)
    return reply, sent, time.time()


def _marks(hook: XpanderHook, reply: Reply) -> Finding:
    try:
        tasks = TaskPage.model_validate(json.loads(reply.body)).items
    except ValueError as error:
        return Finding("marks", State.BAD, f"The list of tasks cannot be read: {error}")
    marked = next((task for task in tasks if read_mark(task.title)), None)
    records = hook.run(get_known([task.id for task in ([marked] if marked else tasks[:5])]))
    return about_marks(records, listed=marked)


def _visible(hook: XpanderHook, arguments: argparse.Namespace) -> Iterator[Finding]:
    asked = [
        ("agent", arguments.agent or arguments.invoke, hook.get_agent),
        ("workflow", arguments.workflow, hook.get_workflow),
    ]
    for kind, wanted, read in asked:
        if not wanted:
            continue
        try:
            found = read(wanted)
        except XpanderError as error:
            yield Finding(kind, State.BAD, str(error))
        else:
            name = printable(found.name or "no name", 100)
            version = f", version {found.version}" if found.version else ""
            status = f", {found.status}" if found.status else ""
            yield Finding(kind, State.GOOD, f"{wanted} is visible: {name}{version}{status}")


def _trial(hook: XpanderHook, agent_id: str, timeout: float) -> Finding:
    """Make one tiny run, and look whether its title and source come back."""
    token = secrets.token_hex(6)
    request = {
        "input": "This is a test of the connection. Answer with the word OK.",
        "title": f"xpander-airflow check {token}",
        "source": f"airflow check {token}",
    }
    task: Task | None = None
    try:
        task = hook.invoke_async(Target.agent(agent_id), request)
        over = hook.poll_until_done(Watch(task.id, 2.0, time.time() + timeout))
        if over.end is End.TIMEOUT:
            hook.stop_task(task.id)
        record = over.task or hook.get_task(task.id)
        listed: Any = next((one for one in hook.list_tasks(agent_id=agent_id) if one.id == task.id), None)
    except XpanderError as error:
        said = str(error) if task is None else not_stopped(task.id, hook.settings, error)
        return Finding("run", State.BAD, said)
    return about_trial(record, listed, token, timed_out=over.end is End.TIMEOUT)
