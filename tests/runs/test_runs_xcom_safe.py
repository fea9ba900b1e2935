from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_xpander import task_instance, xcom
from airflow_provider_xpander.runs.xcom_safe import MAX_DEPTH, xcom_restore, xcom_safe

try:  # Airflow 3.2 and later
    from airflow.sdk.serde import deserialize, serialize
except ImportError:
    from airflow.serialization.serde import deserialize, serialize


HOSTILE = [
    {"__type": "x"}, {"__var": "x"}, {"__classname__": "os.system"}, {"__version__": 1}, {"__data__": "x"},
    {"__id__": "x"}, {"__cause__": "x"}, {"__source": "x"}, {"~__classname__": "x"},
    {"__classname__": "builtins.tuple", "__version__": 1, "__data__": ["a"]},
    [{"deep": {"__type": "dict", "__var": {}}}],
    {"a": 2**63, "b": -(2**63) - 1, "c": 10**400},
    {"inf": float("inf"), "nan": float("nan"), "list": [float("-inf")]},
    {"nul\x00": "a\x00b", "lone": "\ud800", "pair": "\U0001f916"},
]  # fmt: skip


@pytest.mark.parametrize("data", HOSTILE, ids=lambda data: ascii(data)[:60])
def test_hostile_data_comes_back_as_data(data: Any) -> None:
    safe = xcom_safe(data)
    # As strict as a database with a JSON column.
    stored = json.dumps(serialize(safe), allow_nan=False)
    assert "\\u0000" not in stored
    json.dumps(safe, ensure_ascii=False).encode()
    assert deserialize(json.loads(stored)) == safe
    assert xcom_safe({"answer": data})["answer"] == safe


@pytest.mark.parametrize(
    ("value", "safe"),
    [
        ({"a": [1, 2.5, True, None, "x"]}, {"a": [1, 2.5, True, None, "x"]}),
        ({"__classname__": 1}, {"~__classname__": 1}),
        ({"~__classname__": 1}, {"~~__classname__": 1}),
        ({"__typename": 1, "class": 2, "__init__": 3}, {"__typename": 1, "class": 2, "__init__": 3}),
        (2**64 - 1, 2**64 - 1),
        (2**64, f"~{2**64}"),
        (-(2**63), -(2**63)),
        (-(2**63) - 1, f"~{-(2**63) - 1}"),
        (True, True),
        ("müde 🤖", "müde 🤖"),
        ("\ud800x", "\ufffdx"),
        (float("inf"), "~inf"),
        ({"xpander_task_id": 1, "url": 2}, {"~xpander_task_id": 1, "url": 2}),
        ({"xpander_link": 1, "xpander_\n": 2}, {"~xpander_link": 1, "~xpander_\n": 2}),
        ({"~xpander_link": 1, "my_xpander_link": 2}, {"~~xpander_link": 1, "my_xpander_link": 2}),
        ("~100", "~100"),
        ("12345678901234567890123", "12345678901234567890123"),
        ("~12345678901234567890123", "~~12345678901234567890123"),
        ("~nan", "~~nan"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_only_what_is_harmful_is_changed(value: Any, safe: Any) -> None:
    assert xcom_safe(value) == safe


REVERSIBLE = [
    *HOSTILE[:-1],
    {"~~xpander_task_id": [{"__id__": {"~__id__": None}}]},
    ["~inf", "~~inf", "inf", "~-inf", "~nan", "~", "~~", "~x", ""],
    [str(2**64), f"~{2**64}", f"~~{2**64}", 2**64, f"~{2**63}", "~0", f"~00{2**64}"],
    "x" * 5_000_000,
    "~" * 1_000_000,
    "\x1b[31m::group::\r\n\u2028 ##[error]",
]


@pytest.mark.parametrize("data", REVERSIBLE, ids=lambda data: ascii(data)[:60])
def test_what_was_made_safe_can_be_restored(data: Any) -> None:
    # By the text, because nan is not equal to itself.
    assert repr(xcom_restore(json.loads(json.dumps(xcom_safe(data))))) == repr(data)


def nested(levels: int) -> Any:
    value: Any = "x"
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


def test_nesting_is_let_pass_as_far_as_airflow_follows() -> None:
    deep = nested(MAX_DEPTH)
    assert deserialize(json.loads(json.dumps(serialize(xcom_safe(deep))))) == deep
    for levels in (MAX_DEPTH + 1, 900):
        with pytest.raises(ValueError, match=f"deeper than {MAX_DEPTH} levels"):
            xcom_safe(nested(levels))


def test_no_answer_has_a_key_that_is_the_name_of_an_xcom_of_ours() -> None:
    names = {
        value
        for module in (xcom, task_instance)
        for name, value in vars(module).items()
        if name.endswith("_KEY") and value != task_instance.STORE_KEY
    }
    assert len(names) > 5
    assert set(xcom_safe(dict.fromkeys(names, 1))) == {f"~{name}" for name in names}
