"""Wrong JSON, in the ways in which models get it wrong (contract 4.1)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

HowWrong = Literal["prose", "truncated", "values"]


def wrong_json(right: Any, how: HowWrong) -> Any:
    """
    Return an answer that is wrong.

    :param right: the answer as it should be.
    :param how: no JSON at all, JSON that ends in the middle, or values that the schema does not have.
    """
    if how == "prose":
        return "Sure! Let me think about it. I would say it is as you expect."
    if how == "truncated":
        written = json.dumps(right)
        return written[: len(written) // 2]
    if isinstance(right, Mapping):
        return {name: {"value": value} for name, value in right.items()}
    return {"value": right}
