from __future__ import annotations

import json
from typing import Any

import pytest
from emulator_api import Api

from airflow_provider_xpander.emulator import Emulator, Prompt
from airflow_provider_xpander.emulator.packs import Pack, pack_of

ROW_SCHEMA = {"type": "object", "properties": {"category": {"enum": ["billing", "bug", "other"]}}}
SCHEMA = {
    "type": "object",
    "required": ["rows"],
    "properties": {
        "rows": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["key", "answer"],
                "properties": {"key": {"type": "string"}, "answer": ROW_SCHEMA},
            },
        }
    },
}
ROWS = [
    {"key": "r1", "row": {"subject": "Charged twice", "note": "I want a refund\n\nplease"}},
    {"key": "r2", "row": {"subject": "The export crashes", "note": None}},
    {"key": "r3", "row": "Hello there."},
]
TEXT = "Classify the ticket.\n\nBe short.\n\n" + json.dumps({"rows": ROWS})


def ask(api: Api, agent_id: str = "classifier", text: str = TEXT, **fields: Any) -> dict[str, Any]:
    body = {"input": {"text": text}, "output_schema": SCHEMA, "output_format": "json", **fields}
    answer = api("POST", f"/v1/agents/{agent_id}/invoke", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def rows_of(task: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(row["key"], row["answer"]) for row in json.loads(task["result"])["rows"]]


RIGHT = [("r1", {"category": "billing"}), ("r2", {"category": "bug"}), ("r3", {"category": "other"})]


@pytest.mark.parametrize(
    ("text", "lead"),
    [
        (TEXT, "Classify the ticket.\n\nBe short."),
        (json.dumps({"rows": ROWS}), ""),
        ("Do.\n\n" + json.dumps({"rows": ROWS}, indent=2), "Do."),
        ("Do.\n\n" + json.dumps({"rows": []}), None),
        (json.dumps({"rows": ROWS}) + "\n\nThat was all.", None),
        ("Do.", None),
    ],
)
def test_a_pack_is_the_last_part_of_the_text(text: str, lead: str | None) -> None:
    pack = pack_of(Prompt(text, True, SCHEMA))
    if lead is None:
        assert pack is None or pack.rows == ()
    else:
        assert pack == Pack(lead, tuple((row["key"], row["row"]) for row in ROWS), ROW_SCHEMA)
    assert pack_of(Prompt(text, True, ROW_SCHEMA)) is None


def test_definitions_stay_with_the_schema_of_a_row() -> None:
    definitions = {"$defs": {"Category": {"enum": ["x"]}}}
    row = {"properties": {"category": {"$ref": "#/$defs/Category"}}}
    schema = {"properties": {"rows": {"items": {"properties": {"answer": row}}}}, **definitions}
    pack = pack_of(Prompt(TEXT, True, schema))
    assert pack is not None
    assert pack.schema == {**row, **definitions}


def test_an_agent_answers_each_row(api: Api) -> None:
    assert rows_of(ask(api)) == RIGHT


def test_a_later_turn_about_the_answer_is_about_the_same_pack(api: Api) -> None:
    first = ask(api)
    assert rows_of(ask(api, text="That was no JSON.", id=first["id"])) == RIGHT


@pytest.mark.parametrize(
    ("switches", "keys"),
    [
        ({"pack_rows_missing": 1}, ["r1", "r2"]),
        ({"pack_rows_missing": 9}, []),
        ({"pack_rows_doubled": 2}, ["r1", "r2", "r3", "r2", "r3"]),
        ({"pack_rows_foreign": 1}, ["r1", "r2", "r3", "foreign-1"]),
    ],
)
def test_rows_of_an_answer_are_missing_double_or_foreign(
    api: Api, emulator: Emulator, switches: dict[str, int], keys: list[str]
) -> None:
    emulator.configure(switches)
    assert [key for key, _ in rows_of(ask(api))] == keys


def test_rows_of_an_answer_are_shuffled(api: Api, emulator: Emulator) -> None:
    emulator.configure({"pack_rows_shuffled": True})
    rows = rows_of(ask(api))
    assert rows != RIGHT
    assert sorted(rows) == RIGHT


def test_rows_of_an_answer_are_invalid(api: Api, emulator: Emulator) -> None:
    emulator.configure({"pack_rows_invalid": 1})
    assert rows_of(ask(api)) == [("r1", {"not": "what was asked for"}), *RIGHT[1:]]


def test_the_switches_do_not_touch_a_row_alone(api: Api, emulator: Emulator) -> None:
    emulator.configure({"pack_rows_missing": 1, "pack_rows_invalid": 1})
    task = ask(api, text="Classify the ticket.\n\nHello there.", output_schema=ROW_SCHEMA)
    assert json.loads(task["result"]) == {"category": "other"}


@pytest.mark.parametrize("text", [TEXT, 'Classify.\n\n{"subject": "The export crashes"}'])
def test_a_poisonous_row_fails_alone_and_in_a_pack(api: Api, emulator: Emulator, text: str) -> None:
    emulator.configure({"poisonous_text": "export crashes"})
    assert ask(api, text=text)["status"] == "failed"
    assert ask(api, text="Classify.\n\nHello.")["status"] == "completed"


def test_a_function_is_asked_row_by_row_or_about_the_whole_pack(api: Api, emulator: Emulator) -> None:
    texts: list[str] = []

    def answer(prompt: Prompt) -> dict[str, str]:
        texts.append(prompt.text)
        return {"category": "bug"}

    emulator.agent("mine").answers(answer)
    assert rows_of(ask(api, "mine")) == [(key, {"category": "bug"}) for key in ("r1", "r2", "r3")]
    assert texts[2] == "Classify the ticket.\n\nBe short.\n\nHello there."
    emulator.agent("mine").answers(answer, whole_packs=True)
    assert json.loads(ask(api, "mine")["result"]) == {"category": "bug"}
    assert texts[3:] == [TEXT]


def test_a_row_that_fails_is_the_end_of_the_pack(api: Api) -> None:
    assert ask(api, "failing")["status"] == "failed"
