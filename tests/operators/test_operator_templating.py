"""Templates: the texts that are rendered, and the values that remain texts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel

from airflow_provider_xpander._compat import XComArg
from airflow_provider_xpander.operators.templating import is_from_xcom, keep_texts
from airflow_provider_xpander.operators.xpander import XpanderInvokeAgentOperator


class Model(BaseModel):
    """What an answer has to look like."""


TEMPLATE = "{{ conn.other.password }}"


def output() -> Any:
    return XComArg(XpanderInvokeAgentOperator(task_id="upstream", agent_id="echo", input="x"))


def mapped(expanded: Any, **partial: Any) -> Any:
    """Return the context of an instance of a task that is mapped over something."""
    task = SimpleNamespace(expand_input=SimpleNamespace(value=expanded), partial_kwargs=partial)
    return {"dag": SimpleNamespace(task_dict={"ask": task})}


def at(map_index: int) -> Any:
    return {"ti": SimpleNamespace(map_index=map_index)}


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ({}, False),
        ({"dag": SimpleNamespace(task_dict={})}, False),
        ({"dag": SimpleNamespace(task_dict={"ask": SimpleNamespace()})}, False),
        (mapped({"user_tokens": [{"crm": TEMPLATE}]}), False),
        (mapped({"input": output()}, user_tokens={"crm": TEMPLATE}), False),
        (mapped({"user_tokens": output()}), True),
        (mapped({"user_tokens": [{"crm": output()}]}), True),
        (mapped([{"user_tokens": {"crm": TEMPLATE}}]), False),
        (mapped([{"user_tokens": output()}]), True),
        (mapped([output()]), True),
        (mapped([{"user_tokens": {"crm": TEMPLATE}}, {"user_tokens": output()}]) | at(0), False),
        (mapped([{"user_tokens": {"crm": TEMPLATE}}, {"user_tokens": output()}]) | at(1), True),
        (mapped({"user_tokens": [{"crm": TEMPLATE}, output()]}), False),
        (mapped({"user_tokens": [{"crm": "another"}, output()]}), True),
        (mapped(output()), True),
        (mapped(output(), user_tokens={"crm": TEMPLATE}), False),
        (mapped(output(), user_tokens={"crm": "another"}), True),
    ],
    ids=[
        "no DAG", "no such task", "not mapped", "expand, written", "partial", "expand, XCom",
        "expand, XCom in it", "expand_kwargs, written", "expand_kwargs, XCom in it",
        "expand_kwargs, one of XCom", "expand_kwargs, written, beside XCom", "expand_kwargs, beside written",
        "expand, written, beside XCom", "expand, XCom, beside written", "expand_kwargs, XCom",
        "expand_kwargs, XCom, beside partial", "expand_kwargs, XCom, over partial",
    ],
)  # fmt: skip
def test_what_comes_out_of_xcom_is_known(context: Any, expected: bool) -> None:
    assert is_from_xcom(context, "ask", "user_tokens", {"crm": TEMPLATE}) is expected


def test_a_model_beside_data_is_the_authors() -> None:
    context = mapped(output(), output_schema=Model)
    assert not is_from_xcom(context, "ask", "output_schema", f"{__name__}.Model")
    assert is_from_xcom(context, "ask", "output_schema", "another.Model")


@pytest.mark.parametrize(
    ("written", "rendered", "expected"),
    [
        ("123345", 123345, "123345"),
        ("0x1F", 31, "0x1F"),
        ("1.10", 1.1, "1.10"),
        ("None", None, "None"),
        ("True", True, "True"),
        ("[1]", [1], "[1]"),
        ("plain", "plain", "plain"),
        ("{{ 7 }}", 7, "as text"),
        ("{{ none }}", None, None),
        ("{{ params.ask }}", {"text": "hi"}, {"text": "hi"}),
        ({"a": "1e5", "b": ["0o7"]}, {"a": 100000.0, "b": [7]}, {"a": "1e5", "b": ["0o7"]}),
        ({"a": 5}, {"a": 5}, {"a": 5}),
        (["1", "{{ x }}"], [1, 2], ["1", "as text"]),
        ("{{ rows }}", ["1"], ["1"]),
        (None, None, None),
        ("placeholder", {"text": "set by a class of one's own"}, {"text": "set by a class of one's own"}),
        ("5", 6, 6),
    ],
)
def test_texts_stay_texts(written: Any, rendered: Any, expected: Any) -> None:
    assert keep_texts(written, rendered, lambda _: "as text") == expected


def test_a_template_may_give_an_object_where_one_makes_sense() -> None:
    assert keep_texts({"n": "{{ 7 }}"}, {"n": 7}) == {"n": 7}
