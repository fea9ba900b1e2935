"""A record of the requests that the emulator got, of a limited size."""

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
    :param size: bytes of the body.
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
    size: int = 0
    status: int | None = None
    task_id: str | None = None
    faulted: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the call as a JSON object."""
        return asdict(self)


class Calls(list[Call]):
    """The latest calls, oldest first."""

    def __init__(self) -> None:
        super().__init__()
        self._bytes = 0

    def keep(self, call: Call, count: int, size: int) -> None:
        """
        Add a call, and forget the oldest ones where there are too many.

        :param call: the new one.
        :param count: so many are kept; it may be a tenth more until the oldest are dropped at once.
        :param size: so many bytes of bodies are kept.
        """
        self.append(call)
        self._bytes += call.size
        drop = len(self) - count if len(self) > count * 1.1 else 0
        self._bytes -= sum(one.size for one in self[:drop])
        while self._bytes > size and drop < len(self) - 1:
            self._bytes -= self[drop].size
            drop += 1
        del self[:drop]

    def clear(self) -> None:
        """Forget all calls."""
        super().clear()
        self._bytes = 0
