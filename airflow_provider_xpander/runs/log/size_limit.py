"""The room that one run has in a task log: lines pass as long as there is some left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

TOTAL_LIMIT = 200_000
"""Characters of one run's narration; what comes after it is followed, but not shown."""
NOTICES = 20
"""Warnings that are shown even then: a log-in that is asked for must not be missed."""
LINE_COST = 60
"""Characters that a line costs beside its text: time, level, source."""

# What Airflow folds its task log at, in 2.11 and 3.x; on 2.11 at the beginning of an INFO line only.
GROUP = "::group::"
GROUP_END = "::endgroup::"


@dataclass(frozen=True)
class Line:
    """A line for the log; ``warning`` for what a person should not miss."""

    text: str
    warning: bool = False


@dataclass
class Budget:
    """
    Characters that may be logged.

    :param left: how many.
    :param spent: whether something did not fit any more; then only warnings pass.
    """

    left: int = TOTAL_LIMIT
    spent: bool = field(default=False, init=False)
    _notices: int = field(default=NOTICES, init=False)

    def passed(self, lines: Sequence[Line]) -> list[Line]:
        """
        Return the lines for which there is room, and once a line that says that the rest is cut.

        :param lines: what is to be logged next.
        """
        passed: list[Line] = []
        for unit in _units(lines):
            cost = sum(len(line.text) + LINE_COST for line in unit)
            if not self.spent and cost <= self.left:
                self.left -= cost
                passed += unit
                continue
            if not self.spent:
                self.spent = True
                passed.append(
                    Line("[What follows is too much for this log. The run is followed to its end.]")
                )
            notices = [line for line in unit if line.warning][: self._notices]
            self._notices -= len(notices)
            passed += notices
        return passed


def _units(lines: Sequence[Line]) -> list[list[Line]]:
    """Take lines apart into single lines and groups: a group passes as a whole, so that none is left open."""
    units: list[list[Line]] = []
    group: list[Line] | None = None
    for line in lines:
        if line.text.startswith(GROUP):
            group = []
            units.append(group)
        if group is None:
            units.append([line])
            continue
        group.append(line)
        if line.text == GROUP_END:
            group = None
    return units
