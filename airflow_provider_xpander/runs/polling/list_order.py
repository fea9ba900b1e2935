"""The order in which a list shows tasks, learned from its pages: contract 2.5 leaves it open."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

TRUST_AFTER = 5
"""Pages in a row that have to show an order which an earlier page has broken."""


class Order(StrEnum):
    """What the list shows first."""

    UNKNOWN = "unknown"
    UPDATED = "newest changes"
    CREATED = "newest tasks"
    NONE = "no order"


class _Evidence:
    """Whether the pages so far have shown one order."""

    def __init__(self) -> None:
        self.streak = 0
        self.broken = False

    def take(self, times: Sequence[float | None]) -> bool | None:
        """
        Return whether a page shows the order; None if it cannot tell.

        :param times: of its rows, in Unix seconds.
        """
        known = [time for time in times if time is not None]
        if len(known) != len(times):
            return None
        if any(earlier < later for earlier, later in zip(known, known[1:], strict=False)):
            self.streak, self.broken = 0, True
            return False
        if len(set(known)) < 2:
            return None
        self.streak += 1
        return True

    @property
    def holds(self) -> bool:
        return self.streak >= (TRUST_AFTER if self.broken else 1)


class LearnedOrder:
    """What the pages of one list have shown of its order so far."""

    def __init__(self) -> None:
        self._updated = _Evidence()
        self._created = _Evidence()
        self._decided = False
        """Whether a page has shown newest changes first and not newest tasks first."""

    @property
    def order(self) -> Order:
        """The order, as far as it is known."""
        if self._updated.holds and (self._decided or not self._created.holds):
            return Order.UPDATED
        if self._created.holds and not self._updated.holds:
            return Order.CREATED
        if self._updated.broken and self._created.broken:
            return Order.NONE
        return Order.UNKNOWN

    @property
    def fits_changes(self) -> bool:
        """Whether the pages show newest changes first; they may fit newest tasks first as well."""
        return self._updated.holds

    def take(self, updated: Sequence[float | None], created: Sequence[float | None]) -> None:
        """
        Learn from a page.

        :param updated: when its tasks have changed last, from the first row on, in Unix seconds.
        :param created: when they were created.
        """
        by_change, by_creation = self._updated.take(updated), self._created.take(created)
        if by_change and by_creation is False:
            self._decided = True
        elif by_change is False:
            self._decided = False

    def distrust_changes(self) -> None:
        """Take note that a change stood elsewhere than in a list of newest changes first."""
        self._updated.streak, self._updated.broken = 0, True
        self._decided = False
