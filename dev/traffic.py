"""Requests that a service took and refused, in all, by what they wanted, and minute by minute."""

from __future__ import annotations

import time
from argparse import ArgumentTypeError
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from airflow_provider_xpander.emulator.calls import Call
from airflow_provider_xpander.emulator.server import EmulatorServer
from dev.soak_hits import go_away

Limits = tuple[int, int]
"""Requests in a minute and in an hour; 0 is no limit."""
_LAST_WORDS = {"stop": "stops", "async": "submits", "tasks": "lists"}


def limits_of(text: str) -> Limits:
    """
    Read two limits from the command line.

    :param text: of a minute and of an hour, with a comma between.
    :raises argparse.ArgumentTypeError: it is something else.
    """
    try:
        minute, hour = (int(number) for number in text.split(","))
    except ValueError:
        raise ArgumentTypeError(f"two numbers with a comma between, and not {text!r}") from None
    return minute, hour


@contextmanager
def under_limits(service: EmulatorServer, limits: Limits | None) -> Iterator[Callable[[], None]]:
    """
    Let a service keep limits, and print at the end what it took and refused; yield an outage of it.

    :param service: the service.
    :param limits: what it keeps; None for none, and no outage.
    """
    if limits is None:
        yield lambda: None
        return
    emulator, since = service.emulator, service.emulator.now()
    emulator.configure({"requests_per_minute": limits[0], "requests_per_hour": limits[1]})

    def outage() -> None:
        time.sleep(10)  # then stops and submits are under way
        go_away(service, 30)

    try:
        yield outage
    finally:
        print(traffic(emulator.calls, since), flush=True)


def traffic(calls: Iterable[Call], since: float) -> str:
    """
    Return a table for people: what was taken and refused (429), by kind of request and by minute.

    :param calls: all that came.
    :param since: epoch seconds; what came before is not counted.
    """
    taken, refused = Counter[str](), Counter[str]()
    for call in calls:
        if call.at >= since and call.status is not None:
            counter = refused if call.status == 429 else taken
            counter.update(("in all", _kind(call), f"minute {int((call.at - since) // 60) + 1}"))
    names = sorted(taken | refused, key=lambda name: (name != "in all", "minute" in name, len(name), name))
    lines = [f"{'requests':12}{'taken':>8}{'refused':>8}"]
    return "\n".join([*lines, *(f"{name:12}{taken[name]:8}{refused[name]:8}" for name in names)])


def _kind(call: Call) -> str:
    return _LAST_WORDS.get(call.path.rsplit("/", 1)[-1], f"{call.method} others")
