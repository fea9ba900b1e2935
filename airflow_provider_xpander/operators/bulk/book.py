"""The book of a bulk task: the state of its rows, written down together with what is known of them."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_xpander.api.errors import XpanderError
from airflow_provider_xpander.api.text import printable
from airflow_provider_xpander.bulk.answers import Answered, Failed
from airflow_provider_xpander.bulk.ledger import Ledger
from airflow_provider_xpander.bulk.packs import REASON_LIMIT
from airflow_provider_xpander.bulk.results import ResultFiles
from airflow_provider_xpander.bulk.row_input import RowInput
from airflow_provider_xpander.bulk.rows import Row, json_line
from airflow_provider_xpander.bulk.state import State
from airflow_provider_xpander.operators.bulk.pace import Sent
from airflow_provider_xpander.telemetry import count_rows

if TYPE_CHECKING:
    from airflow_provider_xpander.bulk.tables import TableWriter

FULL = 5000
"""Records that are written down at the latest."""


class Book:
    """
    Keeps the state of a bulk task in memory, and writes it with the records that it speaks of.

    :param ledger: where states go.
    :param state: as it is now.
    :param key: names of the key columns.
    :param files: where results and failed rows go.
    :param row_input: knows what is kept of a failed row.
    :param table: where answers go too, or None.
    :param log: where to say what was done; no content of rows.
    """

    def __init__(
        self,
        ledger: Ledger,
        state: State,
        *,
        key: tuple[str, ...],
        files: ResultFiles,
        row_input: RowInput,
        table: TableWriter | None,
        log: Any,
    ) -> None:
        self.ledger = ledger
        self.state = state
        self._written = state
        self._key = key
        self._files = files
        self._row_input = row_input
        self._table = table
        self._log = log
        self._answered: list[Answered] = []
        self._failed: list[Failed] = []

    @property
    def is_full(self) -> bool:
        """Whether there is so much to write down that it should be done."""
        return len(self._answered) + len(self._failed) >= FULL

    def row(self, place: int) -> Row:
        """
        Return a row.

        :param place: of the row in the snapshot.
        """
        values = self.ledger.row(place)
        return Row(tuple(values[name] for name in self._key), values)

    def settle(self, place: int, answer: Any, task_id: str, *, cached: bool = False) -> None:
        """
        Take a row for answered.

        :param place: of the row in the snapshot.
        :param answer: the answer, checked.
        :param task_id: the run that gave it.
        :param cached: whether it was paid for earlier.
        """
        key = self.row(place).key
        self._answered.append(Answered(key, answer, "cached" if cached else "answered", task_id))
        kind = "cached" if cached else "answered"
        self.state = replace(self.state, **{kind: getattr(self.state, kind) + 1})

    def fail(self, place: int, reason: str, task_id: str | None) -> None:
        """
        Take a row for failed.

        :param place: of the row in the snapshot.
        :param reason: why.
        :param task_id: the last run that was asked about it, None if there was none.
        """
        row, told = self.row(place), printable(reason, REASON_LIMIT)
        self._failed.append(Failed(row.key, self._row_input.kept(row, self._key), told, task_id))
        named = dict(zip(self._key, row.key, strict=True))
        self.state = self.state.with_failure({**named, "reason": told[:300]})

    def intend(self) -> None:
        """Write down what is about to be submitted."""
        self._write_records()
        self.ledger.intend(self.state)
        self._written = self.state

    def done(self, sent: Sent | None = None) -> None:
        """
        Write down what is so, if that is not written yet.

        :param sent: what this task's workers have sent in the last hour.
        """
        self._write_records()
        if self.state == self._written:
            return
        if sent is not None:
            self.state = replace(self.state, sent=sent)
        self.ledger.done(self.state)
        self._written = self.state

    def _write_records(self) -> None:
        answered, failed = self._answered, self._failed
        if not answered and not failed:
            return
        part, state = self.state.next_part(self.ledger.try_number)
        if answered:
            self.ledger.patiently(lambda: self._files.write_results(part, answered))
            if self._table is not None:
                self.ledger.keep_for_table(part, b"".join(json_line(asdict(one)) for one in answered))
                state = replace(state, untold=(*state.untold, (part, None)))
        if failed:
            self.ledger.patiently(lambda: self._files.write_failed(part, failed))
        self.state = state
        self._answered, self._failed = [], []
        paid = sum(one.status == "answered" for one in answered)
        count_rows(answered=paid, cached=len(answered) - paid, failed=len(failed))

    def tell_table(self) -> Exception | None:
        """
        Write answers into the table that it has not got yet.

        :return: why that went wrong, if it did: the answers are in files, and it is tried again.
        """
        if self._table is None:
            return None
        try:
            for part, before in self.state.untold:
                self._tell(self._table, part, before)
        except Exception as error:  # of whatever driver the database has; it may quote rows
            self._log.warning("%s", error if isinstance(error, XpanderError) else type(error).__name__)
            return error
        return None

    def _tell(self, table: TableWriter, part: str, before: int | None) -> None:
        lines = self.ledger.for_table(part)
        records = [Answered(**line | {"key": tuple(line["key"])}) for line in lines]
        if before is None:
            before = table.count(records)
            known = tuple((name, before if name == part else count) for name, count in self.state.untold)
            self.state = replace(self.state, untold=known)
            self.done()
        table.write(records, before)
        self.state = replace(self.state, untold=tuple(one for one in self.state.untold if one[0] != part))
        self.done()
        self.ledger.forget(part)
