"""The approval of an answer by a person: what is asked in Airflow, and what follows from the decision."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from airflow_provider_xpander.api.text import hidden
from airflow_provider_xpander.runs.deferral import Decision
from airflow_provider_xpander.runs.question import Question, as_link, as_text

OnApprovalTimeout = Literal["fail", "skip", "approve"]

APPROVE = "Approve"
EDITED = "Approve as edited"
AGAIN = "Ask again"
REJECT = "Reject"
OPTIONS = (APPROVE, EDITED, AGAIN, REJECT)

SHOWN = 20_000
"""Characters of an answer that the form shows; a longer one cannot be edited in it."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_CHOICE = f"""\
You can choose:

- **{APPROVE}** hands the answer on as it is.
- **{EDITED}** hands on what you have made of it in the field "answer".
- **{AGAIN}** sends your comment to the agent, in the same thread. You decide on its new answer, too.
- **{REJECT}** fails the task, without a retry.

Airflow keeps this text. Where the agent has answered again, or an edited answer did not fit, the task's XCom
`xpander_approval` and its log have the answer to decide on, its code, and what was wrong. Enter that code."""


@dataclass(frozen=True)
class ApprovalRules:
    """
    What the author wants of the approval.

    :param approvers: ids of the users who may decide; empty for everybody who may edit the DAG run.
    :param timeout: seconds within which somebody has to decide, or None.
    :param on_timeout: ``fail`` or ``skip`` the task when nobody has, or ``approve`` the answer.
    """

    approvers: Sequence[str] = ()
    timeout: float | None = None
    on_timeout: OnApprovalTimeout = "fail"


class Step(StrEnum):
    """What follows from a decision."""

    APPROVED = "approved"
    EDITED = "edited"
    ASKED_AGAIN = "asked again"
    REJECTED = "rejected"
    UNCLEAR = "unclear"
    """It cannot be done, and the person is asked once more."""


@dataclass(frozen=True)
class Verdict:
    """
    A decision as it is understood.

    :param step: what follows.
    :param text: the edited answer, the comment, or what is wrong with the decision.
    """

    step: Step
    text: str = ""


def code_of(answer: Any) -> str:
    """
    Return what stands for an answer: who approves one names it so.

    It begins with a letter that no number and no other JSON begins with: Airflow's form reads JSON in a field
    as data.

    :param answer: JSON data.
    """
    return "c" + hashlib.sha256(json.dumps(answer, sort_keys=True, default=str).encode()).hexdigest()[:8]


def editable(answer: Any) -> str:
    """
    Return an answer as a person reads and edits it.

    :param answer: a text, or JSON data.
    """
    text = answer if isinstance(answer, str) else json.dumps(answer, indent=2, ensure_ascii=False)
    return _CONTROL.sub("", text)


def question_of(answer: Any, *, agent_id: str | None, task_id: str, link: str) -> Question:
    """
    Return the question whether an answer may be handed on.

    The answer is as untrusted as the agent is: it is shown as a block of code, which nothing in it can end.

    :param answer: the answer.
    :param agent_id: who has given it, or None.
    :param task_id: the run.
    :param link: where a person finds it.
    """
    text = hidden(editable(answer))
    cut = text[:SHOWN] + ("\n(cut; the run has all of it)" if len(text) > SHOWN else "")
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", cut)), default=0))
    lines = [
        f"{fence}{'' if isinstance(answer, str) else 'json'}", cut, fence, "",
        f"- Code of this answer: {code_of(answer)}",
        f"- Run: {as_text(task_id)}",
        f"- Console: {as_link(link)}",
        "", _CHOICE,
    ]  # fmt: skip
    who = f"agent {as_text(agent_id)}" if agent_id else "the agent"
    return Question(f"May the answer of {who} be handed on?", "\n".join(lines))


def form_of(answer: Any) -> dict[str, Any]:
    """
    Return the fields of the form, as Airflow's parameters are written.

    :param answer: the answer.
    """
    text = editable(answer)
    if not isinstance(answer, str):
        text = f"```json\n{text}\n```"  # as it is, Airflow's form would show "[object Object]"
    elif _is_json(text):
        text = ""
    return {
        "code": _field("Code of the answer that you decide on", code_of(answer)),
        "answer": _field("The answer, to be edited", text if len(text) <= SHOWN else "", "multiline"),
        "comment": _field("Comment: for the agent, or why", "", "multiline"),
    }


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _text(value: Any) -> str:
    """Return what was written into a field: Airflow's form may have made data of JSON."""
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _field(title: str, value: str, form: str | None = None) -> dict[str, Any]:
    schema = {"type": ["string", "null"], "title": title} | ({"format": form} if form else {})
    return {"value": value, "description": None, "schema": schema}


def judge(decision: Decision, *, code: str, shown: str) -> Verdict:
    """
    Understand a decision.

    :param decision: what a person has decided.
    :param code: that of the answer to decide on.
    :param shown: code of the answer that the form shows; who enters none means that.
    """
    option = decision.options[0]
    comment = _text(decision.inputs.get("comment")).strip()
    if option == REJECT:
        return Verdict(Step.REJECTED, comment)
    if option == AGAIN:
        needed = f'"{AGAIN}" needs a comment: what the agent is to do.'
        return Verdict(Step.ASKED_AGAIN, comment) if comment else Verdict(Step.UNCLEAR, needed)
    named = _text(decision.inputs.get("code")).strip() or shown
    if named != code:
        return Verdict(
            Step.UNCLEAR, f"The decision is about another answer ({named}); that to decide on is {code}."
        )
    if option == EDITED:
        edited = _text(decision.inputs.get("answer"))
        none = f'"{EDITED}" needs the edited answer.'
        return Verdict(Step.EDITED, edited) if edited.strip() else Verdict(Step.UNCLEAR, none)
    return Verdict(Step.APPROVED, comment)


def entry_of(step: str, decision: Decision, now: str, comment: str = "") -> Mapping[str, Any]:
    """
    Return what XCom keeps of a decision: who, what and when.

    :param step: what was decided.
    :param decision: the decision.
    :param now: the present moment, where Airflow does not say when it was.
    :param comment: what the person has said.
    """
    said = {"comment": comment} if comment else {}
    return {"decision": step, "by": decision.by or "somebody", "at": decision.at or now, **said}
