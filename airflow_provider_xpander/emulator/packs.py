"""Packs: runs that are asked about many rows at once, and what can be wrong with their answers, pure."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_xpander.api.status import TaskStatus
from airflow_provider_xpander.emulator.agents import Agent, Prompt
from airflow_provider_xpander.emulator.schedule import Behaviour
from airflow_provider_xpander.emulator.settings import Settings

Answer = dict[str, Any]


@dataclass(frozen=True)
class Pack:
    """
    Rows that one run is asked about.

    :param lead: what to do with each row.
    :param rows: key and content of each.
    :param schema: JSON Schema of the answer to one row.
    """

    lead: str
    rows: tuple[tuple[str, Any], ...]
    schema: Mapping[str, Any]


def pack_of(prompt: Prompt) -> Pack | None:
    """
    Return the pack that a run is asked about, or None if it is none.

    In a later turn that speaks of the answer only, it is the pack of the turn before.

    :param prompt: what the agent is asked.
    """
    schema = _row_schema(prompt.schema or {})
    if schema is None:
        return None
    for text in (prompt.text, *reversed(prompt.earlier)):
        lead, blank, last = text.rpartition("\n\n")
        try:
            document = json.loads(last)
            rows = tuple((str(row["key"]), row["row"]) for row in document["rows"])
        except (ValueError, TypeError, KeyError):
            continue
        return Pack(lead if blank else "", rows, schema)
    return None


def _row_schema(schema: Mapping[str, Any]) -> Mapping[str, Any] | None:
    try:
        answer = schema["properties"]["rows"]["items"]["properties"]["answer"]
    except (KeyError, TypeError):
        return None
    # References of the row's schema lead to definitions at the top.
    return {**answer, **{name: schema[name] for name in ("$defs", "definitions") if name in schema}}


def ask_each(act: Agent, prompt: Prompt, pack: Pack) -> Behaviour:
    """
    Ask an agent that knows nothing of packs about each row, and make one answer of its answers.

    A row that the agent does not complete is the end of the whole run.

    :param act: the agent.
    :param prompt: what it is asked.
    :param pack: the rows in it.
    """
    answers: list[Answer] = []
    behaviour = Behaviour()
    seconds: list[float] = []
    for key, row in pack.rows:
        written = row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)
        behaviour = act(
            replace(prompt, text=f"{pack.lead}\n\n{written}", wants_json=True, schema=pack.schema)
        )
        if behaviour.ending.status is not TaskStatus.COMPLETED:
            return behaviour
        seconds += [] if behaviour.seconds is None else [behaviour.seconds]
        answers.append({"key": key, "answer": _data(behaviour.ending.result)})
    result = {"rows": answers}
    then = behaviour.then and replace(behaviour.then, result=result)
    return replace(behaviour, result=result, then=then, seconds=max(seconds, default=None))


def _data(result: Any) -> Any:
    if not isinstance(result, str):
        return result
    try:
        return json.loads(result)
    except ValueError:
        return result


def spoiled(behaviour: Behaviour, settings: Settings) -> Behaviour:
    """
    Return the answer to a pack as the settings say: with rows that are missing, double, foreign and so on.

    :param behaviour: the answer as it should be.
    :param settings: of the emulator.
    """
    result = _data(behaviour.result)
    if not (isinstance(result, Mapping) and isinstance(result.get("rows"), list)):
        return behaviour
    rows: list[Any] = list(result["rows"])
    rows = rows[: max(0, len(rows) - settings.pack_rows_missing)]
    for place in range(min(settings.pack_rows_invalid, len(rows))):
        rows[place] = {**rows[place], "answer": {"not": "what was asked for"}}
    rows += rows[-settings.pack_rows_doubled :] if settings.pack_rows_doubled else []
    rows += [
        {"key": f"foreign-{number}", "answer": rows[0]["answer"] if rows else {}}
        for number in range(1, settings.pack_rows_foreign + 1)
    ]
    if settings.pack_rows_shuffled:
        random.Random(len(rows)).shuffle(rows)
    spoilt = {**result, "rows": rows}
    then = behaviour.then and spoiled(behaviour.then, settings)
    return replace(behaviour, result=spoilt, then=then)


def is_poisonous(prompt: Prompt, settings: Settings) -> bool:
    """
    Whether a run is asked about a row with which it fails.

    :param prompt: what the agent is asked.
    :param settings: of the emulator.
    """
    return bool(settings.poisonous_text) and any(
        settings.poisonous_text in text for text in (prompt.text, *prompt.earlier)
    )
