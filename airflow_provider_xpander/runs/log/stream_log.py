"""
The log of a run's stream: events go in, lines for the task log come out.

Thoughts and tool calls are groups that Airflow folds (``::group::`` in 2.11 and 3.x). A group is written as
a whole, so that none is left open whatever happens next, and its title is numbered, because 2.11 unfolds all
groups of one title at once. Groups are never in one another: not all versions fold those. Text comes by
lines. Agent output is untrusted: it is masked and made harmless (``api/text.py``), and bounded
(``size_limit.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_xpander.api.models import StreamEvent
from airflow_provider_xpander.api.sse import FINISHED
from airflow_provider_xpander.api.status import normalize_status
from airflow_provider_xpander.api.text import (
    LINE_LIMIT,
    LINES_LIMIT,
    LONGEST_SECRET,
    Mask,
    break_of,
    log_line,
    log_lines,
    wrapped,
)
from airflow_provider_xpander.runs.log.size_limit import GROUP, GROUP_END, Budget, Line
from airflow_provider_xpander.runs.log.status_log import plan_steps

SPEAKERS = 50
"""Tasks whose unfinished lines are kept."""


@dataclass
class Narrator:
    """
    Tell a run by its events.

    :param task_id: the own task; events of others are those of sub-agents.
    :param mask: hides what is known to be secret.
    """

    task_id: str
    mask: Mask = str
    _budget: Budget = field(default_factory=Budget, init=False)
    _counts: dict[str, int] = field(default_factory=dict, init=False)
    _calls: dict[str, int] = field(default_factory=dict, init=False)
    _partial: dict[str, str] = field(default_factory=dict, init=False)
    _speaker: str | None = field(default=None, init=False)
    _names: dict[str, str] = field(default_factory=dict, init=False)
    _depths: dict[str, int] = field(default_factory=dict, init=False)
    _statuses: dict[str, str] = field(default_factory=dict, init=False)
    _plan: dict[str, bool] = field(default_factory=dict, init=False)
    _context: int = field(default=0, init=False)

    def feed(self, event: StreamEvent) -> list[Line]:
        """
        Return the lines that an event adds, none for one that tells a reader nothing.

        :param event: one of the stream.
        """
        who = event.task_id or self.task_id
        tell = _TELLERS.get(event.type)
        if tell is None or (self._budget.spent and event.type not in _ALWAYS):
            return []
        self._know(who, event)
        told = tell(self, who, event.data)
        if event.type != "chunk" and told:
            told = [*self._end_text(who), *told]
        return self._budget.passed(told)

    def close(self) -> list[Line]:
        """Return what is left of texts whose last line did not end."""
        lines = [line for who in list(self._partial) for line in self._end_text(who)]
        return self._budget.passed(lines)

    # -- the events

    def _text(self, who: str, data: Any) -> list[Line]:
        if isinstance(data, Mapping):
            data = data.get("content") or data.get("text")
        if not isinstance(data, str) or not data:
            return []
        # What is behind the room that is left would not be shown, so it need not be looked at.
        text = self._partial.get(who, "") + data[: self._budget.left + LINE_LIMIT]
        *whole, text = text.split("\n")
        lines: list[str] = []
        for line in whole:
            pieces = wrapped(self.mask(line))
            lines += pieces or ([""] if lines and lines[-1] else [])
        while len(text) > 2 * LINE_LIMIT:
            window = LINE_LIMIT + LONGEST_SECRET
            known, behind = self.mask(text[:window]), text[window:]
            at = break_of(known)
            if not at and not behind:
                break  # one long word, which may be a secret that is not known before it is whole
            lines += wrapped(known[: at or LINE_LIMIT])
            text = known[at or LINE_LIMIT :].removeprefix(" ") + behind
        self._partial[who] = text
        spoken = self._spoken(who, lines)
        if len(self._partial) > SPEAKERS:
            spoken += self._end_text(next(iter(self._partial)))
        return spoken

    def _end_text(self, who: str) -> list[Line]:
        rest = self._partial.pop(who, "")
        lines = self._spoken(who, wrapped(self.mask(rest)))
        if self._speaker == who:
            self._speaker = None
        return lines

    def _spoken(self, who: str, lines: Sequence[str]) -> list[Line]:
        if not any(lines):
            return []
        says = "Answer:" if self._own(who) else f"{self._indent(who)}{self._names.get(who)} says:"
        heading = [] if self._speaker == who else [Line(says)]
        self._speaker = who
        return heading + [Line(f"{self._indent(who)}| {line}".rstrip()) for line in lines]

    def _thought(self, who: str, data: Any) -> list[Line]:
        given = data
        if isinstance(data, Mapping):
            payload = data.get("payload")
            given = payload.get("input", payload) if isinstance(payload, Mapping) else data
        if isinstance(given, Mapping):
            body = dict(given)
            head = body.pop("title", None) or next(iter(body.values()), "")
            text = [part for name, value in body.items() for part in self._named(name, value)]
        else:
            head, text = given, log_lines(given, self.mask)
        if not head:
            return []
        return self._group(who, f"{self._number('Reasoning')}: {log_line(head, self.mask)}", text)

    def _call(self, who: str, data: Any) -> list[Line]:
        call = data if isinstance(data, Mapping) else {}
        number = self._number("Tool call")
        for key in _keys_of(call):
            self._calls[key] = self._counts["Tool call"]
        reasoning = call.get("reasoning")
        why = reasoning if isinstance(reasoning, Mapping) else {}
        said = f" - {log_line(why['title'], self.mask)}" if why.get("title") else ""
        return self._group(
            who,
            f"{number}: {self._tool(call)}{said}",
            [
                *log_lines(why.get("description"), self.mask),
                *self._named("arguments", call.get("payload")),
            ],
        )

    def _call_result(self, who: str, data: Any) -> list[Line]:
        call = data if isinstance(data, Mapping) else {"result": data}
        number = next((self._calls[key] for key in _keys_of(call) if key in self._calls), None)
        if number is None:
            number = self._counts["Tool call"] = self._counts.get("Tool call", 0) + 1
        if call.get("approval_request_id"):
            return [
                self._line(who, f"Tool call {number}: {self._tool(call)} waits for approval", warning=True)
            ]
        how = "failed" if call.get("is_error") else "answered"
        self._calls = {key: its for key, its in self._calls.items() if its != number}
        text = log_lines(call.get("result"), self.mask)
        return self._group(who, f"Tool call {number}: {self._tool(call)} {how}", text)

    def _sub_agent(self, who: str, data: Any) -> list[Line]:
        asked = data if isinstance(data, Mapping) else {}
        name = log_line(asked.get("agent_id") or "an agent", self.mask)
        text = [*self._named("asks", asked.get("query")), *self._named("files", asked.get("files"))]
        return self._group(who, f"{self._number('Sub-agent')}: {name}", text)

    def _lifecycle(self, who: str, data: Any) -> list[Line]:
        """Tell the beginning and end of a sub-agent's task; those of the own one are told with each look."""
        task = data if isinstance(data, Mapping) else {}
        sub = str(task.get("id") or who)
        if self._own(sub):
            return []
        status = normalize_status(task.get("status"), finished=task.get("finished_at") is not None)
        if self._statuses.get(sub) == status.value:
            return []
        self._statuses[sub] = status.value
        text = log_lines(task.get("result"), self.mask) if status.is_terminal else []
        # Whatever the envelope names, the id makes the title one of a kind.
        name = log_line(sub, self.mask, 60)
        return self._group(sub, f"xpander task {name} {status.in_words}", text)

    def _plan_updated(self, who: str, data: Any) -> list[Line]:
        plan = data if isinstance(data, Mapping) else {}
        before, self._plan = self._plan, plan_steps(plan.get("tasks"))
        asks = (
            [self._line(who, "The plan raises a question", warning=True)]
            if plan.get("question_raised")
            else []
        )
        if not self._plan or before == self._plan:
            return asks
        done = f"{sum(self._plan.values())} of {len(self._plan)} steps done"
        if list(before) == list(self._plan):
            new = [name for name, is_done in self._plan.items() if is_done and not before[name]]
            named = log_line(", ".join(new), self.mask, 2 * LINE_LIMIT)
            return [*([self._line(who, f"Plan: {done}: {named}")] if new else []), *asks]
        steps = [
            f"[{'x' if is_done else ' '}] {log_line(name, self.mask)}" for name, is_done in self._plan.items()
        ]
        return [*self._group(who, f"{self._number('Plan')}: {done}", steps[:LINES_LIMIT]), *asks]

    def _auth(self, who: str, data: Any) -> list[Line]:
        about = data if isinstance(data, Mapping) else {}
        inner = about.get("data")
        given = inner if isinstance(inner, Mapping) else {}
        server = log_line(given.get("server_name") or given.get("server_url") or "a connector", self.mask)
        said = log_line(given.get("message") or "", self.mask, 2 * LINE_LIMIT)
        tail = f": {said}" if said else ""
        match about.get("type"):
            case "login_required":
                link = log_line(given.get("url") or "", self.mask, 2_000)
                at = f" at {link}" if link.startswith(("https://", "http://")) else " in the console"
                return [self._line(who, f"Somebody has to log in to {server}{at}{tail}", warning=True)]
            case "token_issue":
                return [self._line(who, f"The log-in to {server} does not work{tail}", warning=True)]
            case "token_ready":
                return [self._line(who, f"Logged in to {server}")]
        return []

    def _question(self, who: str, data: Any) -> list[Line]:
        return [
            self._line(
                who, "The agent asks its user something; it can be answered in the console", warning=True
            )
        ]

    def _secret(self, who: str, data: Any) -> list[Line]:
        return [self._line(who, "The agent asks for a secret; it can be given in the console", warning=True)]

    def _compaction(self, who: str, data: Any) -> list[Line]:
        kind = data.get("type") if isinstance(data, Mapping) else None
        if kind not in ("summarization", "compaction_started"):
            return []
        return [self._line(who, "The agent sums up what was said so far, because its memory is full")]

    def _context_status(self, who: str, data: Any) -> list[Line]:
        percent = data.get("percent") if isinstance(data, Mapping) else None
        if not isinstance(percent, int | float) or not self._own(who):
            return []
        quarter, before = int(min(percent, 100) // 25), self._context
        self._context = quarter
        return [self._line(who, f"{percent:.0f} % of the agent's memory is used")] if quarter > before else []

    def _error(self, who: str, data: Any) -> list[Line]:
        said = data.get("error") if isinstance(data, Mapping) else data
        return [
            self._line(
                who,
                f"The stream reports an error: {log_line(said, self.mask, 2 * LINE_LIMIT)}",
                warning=True,
            )
        ]

    # -- the form of the lines

    def _own(self, who: str) -> bool:
        return who == self.task_id

    def _know(self, who: str, event: StreamEvent) -> None:
        """Note the name and the depth of a sub-agent's task."""
        if self._own(who) or who in self._depths or len(self._depths) >= 1000:
            return
        task = event.data if isinstance(event.data, Mapping) else {}
        parent = str(task.get("parent_execution") or task.get("parent_task_id") or self.task_id)
        self._depths[who] = min(self._depths.get(parent, 0) + 1, 4)
        identity = event.raw.get("identity")
        name = identity.get("name") if isinstance(identity, Mapping) else None
        self._names[who] = log_line(name or task.get("agent_id") or "sub-agent", self.mask, 40)

    def _indent(self, who: str) -> str:
        return "" if self._own(who) else "    " * self._depths.get(who, 1)

    def _line(self, who: str, text: str, *, warning: bool = False) -> Line:
        name = "" if self._own(who) else f"{self._names.get(who, 'sub-agent')}: "
        return Line(f"{self._indent(who)}{name}{text}", warning)

    def _group(self, who: str, title: str, text: Sequence[str]) -> list[Line]:
        line = self._line(who, title)
        if not text:
            return [line]
        indent = self._indent(who)
        body = [Line(f"{indent}{part}") for part in text]
        # Airflow 3 shows no blanks at the beginning of a title.
        return [Line(f"{GROUP}{indent.replace('    ', '> ')}{line.text.strip()}"), *body, Line(GROUP_END)]

    def _number(self, kind: str) -> str:
        self._counts[kind] = self._counts.get(kind, 0) + 1
        return f"{kind} {self._counts[kind]}"

    def _tool(self, call: Mapping[str, Any]) -> str:
        return log_line(call.get("tool_name") or call.get("operation_id") or "a tool", self.mask)

    def _named(self, name: str, value: Any) -> list[str]:
        lines = log_lines(value, self.mask)
        name = log_line(name, self.mask, 40)
        if len(lines) == 1:
            return [f"{name}: {lines[0]}"]
        return [f"{name}:", *(f"    {line}".rstrip() for line in lines)] if lines else []


def _keys_of(call: Mapping[str, Any]) -> list[str]:
    """Return what tells a tool call from others, the sharpest first."""
    names = ("tool_call_id", "request_id", "operation_id")
    return [f"{name} {call[name]}" for name in names if call.get(name)]


_Teller = Callable[[Narrator, str, Any], list[Line]]
_ALWAYS = frozenset({"auth_event", "ask_user_questions", "ask_for_secret"})
"""Events whose warnings are shown after the cut too."""
_TELLERS: dict[str, _Teller] = {
    "chunk": Narrator._text,
    "think": Narrator._thought,
    "analyze": Narrator._thought,
    "tool_call_request": Narrator._call,
    "tool_call_result": Narrator._call_result,
    "sub_agent_trigger": Narrator._sub_agent,
    "task_created": Narrator._lifecycle,
    "task_updated": Narrator._lifecycle,
    FINISHED: Narrator._lifecycle,
    "sub_task_created": Narrator._lifecycle,
    "sub_task_updated": Narrator._lifecycle,
    "sub_task_finished": Narrator._lifecycle,
    "plan_updated": Narrator._plan_updated,
    "auth_event": Narrator._auth,
    "ask_user_questions": Narrator._question,
    "ask_for_secret": Narrator._secret,
    "task_compactization": Narrator._compaction,
    "context_status": Narrator._context_status,
    "error": Narrator._error,
}
