"""A record of every request that the emulator got."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class Call:
    """
    One request.

    :param query: query parameters; the last one of a name counts.
    :param headers: request headers, names in lower case. They hold the API key: never log them.
    :param at: when it came, in epoch seconds of the emulator's clock.
    :param body: the parsed JSON body as it was sent, None if there was none.
    :param status: HTTP status answered; None while it is being answered, or if nothing was.
    :param task_id: the task that an invoke created or continued, even if a fault hid the answer.
    :param faulted: whether a fault changed the answer.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    at: float
    body: Any = None
    status: int | None = None
    task_id: str | None = None
    faulted: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the call as a JSON object."""
        return asdict(self)
