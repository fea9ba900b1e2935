"""The notifier: a task or DAG run that has failed, or is late, starts an agent that looks into it."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Generator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast

from airflow_provider_xpander._compat import BaseNotifier, Context, masked
from airflow_provider_xpander.api.errors import XpanderError, XpanderValidationError
from airflow_provider_xpander.api.models import Target, Task
from airflow_provider_xpander.api.request import for_user, parse_request
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.api.text import printable
from airflow_provider_xpander.connection import DEFAULT_CONN_ID
from airflow_provider_xpander.failure_facts import read_notice
from airflow_provider_xpander.notice_ledger import claim, ledger_path
from airflow_provider_xpander.runs.notice import MOST_AN_HOUR, Notice, NotStarted, submit_notice, too_many

LIMIT = 5.0
"""Seconds that a notification takes at the most; Airflow 3 ends all callbacks of a task after 20."""
INPUT = "A task of Apache Airflow has failed. Find the likely cause, and say what to do about it."


class XpanderNotifier(BaseNotifier):
    """
    Start an agent's run that looks into a failure, and do not wait for it.

    For ``on_failure_callback`` of tasks and DAGs (the other callbacks work too), and for the deadline alerts
    of Airflow 3.1 and later. The agent is told ``input``, and behind it what Airflow knows: the DAG, its run,
    the task, the number of the try, the link to the log, and the errors, without the secrets that Airflow
    knows of. It starts one run for each try of a task instance, also where Airflow calls it twice.

    Whatever goes wrong is in the log, and nowhere else: no callback and no task fails because of it.

    :param agent_id: who is asked.
    :param input: what is asked; a template, which sees the context of the callback.
    :param xpander_conn_id: id of a connection of type ``xpander``.
    :param version: the version of the agent; None for the latest that is deployed.
    :param max_per_hour: runs of this agent that notifiers may start within an hour, from 1 to 50.
    :param context: that of a deadline alert; Airflow gives it.
    :raises XpanderValidationError: a parameter cannot be right, when the DAG is parsed.
    """

    template_fields: Sequence[str] = ("input",)

    def __init__(
        self,
        agent_id: str,
        input: str = INPUT,
        xpander_conn_id: str = DEFAULT_CONN_ID,
        version: str | None = None,
        max_per_hour: int = 10,
        context: Context | None = None,
    ) -> None:
        self.target = Target.agent(agent_id, version)
        if not isinstance(input, str) or not input.strip():
            raise XpanderValidationError(f"input must be a text that says what to do, got {input!r}")
        is_number = isinstance(max_per_hour, int) and not isinstance(max_per_hour, bool)
        if not is_number or not 1 <= max_per_hour <= MOST_AN_HOUR:
            raise XpanderValidationError(
                f"max_per_hour must be a whole number from 1 to {MOST_AN_HOUR}, got {max_per_hour!r}"
            )
        super().__init__()
        self.agent_id = agent_id
        self.version = version
        self.input = input
        self.xpander_conn_id = xpander_conn_id
        self.max_per_hour = max_per_hour
        self.context: Any = context or {}
        self._asked = input
        """What is asked, before it is rendered: two notifiers of a task are told apart by it."""

    def __call__(self, *args: Any) -> None:
        """
        Tell the agent; Airflow calls this.

        :param args: the context.
        """
        try:
            # Of a copy: what is rendered replaces the template, and one notifier may serve many tasks.
            super(XpanderNotifier, copy.copy(self)).__call__(*args)
        except Exception as error:
            self._say_what_is_wrong(error)

    def __await__(self) -> Generator[Any, None, None]:
        """Tell the agent, in the triggerer; Airflow awaits this."""
        return copy.copy(self)._tell_async().__await__()

    async def _tell_async(self) -> None:
        try:
            self._update_context(self.context)
            self.render_template_fields(self.context)
            await self.async_notify(self.context)
        except Exception as error:
            self._say_what_is_wrong(error)

    def _say_what_is_wrong(self, error: Exception) -> None:
        """Write one line: the frames are of this package and of Airflow, and say nothing of the cause."""
        what = f"{type(error).__name__}: {printable(error)}"
        self.log.error("%s was not told: %s", self.target, what)
        self.log.debug("The error came from here", exc_info=error)

    def notify(self, context: Context) -> None:
        """
        Tell the agent, in a worker or in the DAG processor.

        :param context: of the callback.
        """
        try:
            self._tell(context)
        except Exception as error:  # or Airflow writes its traceback
            self._say_what_is_wrong(error)

    def _tell(self, context: Context) -> None:
        from airflow_provider_xpander.hooks.xpander import XpanderHook

        notice = self._notice(context)
        outcome: list[Task | Exception] = []

        def submit() -> None:
            try:
                with client.again() as own:
                    outcome.append(own.run(self._steps(notice, own.settings), timeout=LIMIT))
            except Exception as error:
                outcome.append(error)

        with XpanderHook(self.xpander_conn_id) as hook:
            client = hook.get_conn()
            if (why_not := self._claim(notice, client.settings)) is not None:
                self._say_not_started(notice, why_not)
                return
            # In a thread, because no time-out of a socket covers the search for a name.
            thread = threading.Thread(target=submit, daemon=True)
            thread.start()
            thread.join(LIMIT)
        self._say(notice, outcome[0] if outcome else None, client.settings)

    async def async_notify(self, context: Context) -> None:
        """
        Tell the agent, in the triggerer.

        :param context: of the alert.
        """
        from airflow_provider_xpander.triggers.shared_client import FRESH, shared_client

        notice = self._notice(context)
        outcome: Task | Exception | None = None
        async with shared_client(self.xpander_conn_id) as client:
            await client.refresh(FRESH)
            if (why_not := await asyncio.to_thread(self._claim, notice, client.settings)) is not None:
                self._say_not_started(notice, why_not)
                return
            try:
                async with asyncio.timeout(LIMIT):
                    outcome = await client.run(self._steps(notice, client.settings))
            except TimeoutError:
                outcome = None
            except (XpanderError, NotStarted) as error:
                outcome = error
            self._say(notice, outcome, client.settings)

    def _notice(self, context: Mapping[str, Any]) -> Notice:
        if not isinstance(self.input, str):  # of the DAG's render_template_as_native_obj
            from airflow_provider_xpander.operators.templating import keep_texts, render_texts

            again = partial(render_texts, context=cast("Context", context))
            self.input = str(keep_texts(self._asked, self.input, again))
        return read_notice(context, purpose=(str(self.target), self._asked), mask=masked)

    def _claim(self, notice: Notice, settings: Settings) -> str | None:
        """Note the notice in the ledger of this machine; return why it is not to be sent, if so."""
        try:
            path = ledger_path(settings.base_url, self.agent_id)
            held = claim(path, notice.identity.digest, self.max_per_hour)
        except OSError as error:
            self.log.warning("Notices are not counted on this machine: %s", error)
            return None
        if held is None:
            return None
        return too_many(held, self.max_per_hour) if held else "it was told before, by this machine"

    def _steps(self, notice: Notice, settings: Settings) -> Any:
        request = for_user(parse_request(self.input), settings.default_user)
        return submit_notice(
            notice.request(request, self.target, masked),
            self.target,
            notice.identity.digest,
            self.max_per_hour,
            datetime.now(UTC),
        )

    def _say_not_started(self, notice: Notice, why: object) -> None:
        self.log.warning("%s is not told of %s: %s", self.target, notice.subject, why)

    def _say(self, notice: Notice, outcome: Task | Exception | None, settings: Settings) -> None:
        """Write into the log what came of it."""
        if isinstance(outcome, Task):
            link = settings.task_link(task_id=outcome.id, agent_id=self.agent_id)
            self.log.info(
                "%s looks into %s: xpander task %s, %s", self.target, notice.subject, outcome.id, link
            )
        elif isinstance(outcome, NotStarted):
            self._say_not_started(notice, outcome)
        elif outcome is None:
            self.log.error(
                "%s may have been told of %s, or not: no answer within %g s",
                self.target,
                notice.subject,
                LIMIT,
            )
        else:
            self.log.error("%s was not told of %s: %s", self.target, notice.subject, outcome)
