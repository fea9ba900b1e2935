"""Datasets that a bulk task reads and writes, as OpenLineage names them."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_xpander.operators.lineage import datasets_of

pytestmark = pytest.mark.filterwarnings("ignore")  # those of Airflow's OpenLineage provider are not ours

Names = list[tuple[str, str]]


def names(**arguments: Any) -> tuple[Names, Names]:
    inputs, outputs = datasets_of(**{"rows": [{"id": 1}], **arguments})
    return [(one.namespace, one.name) for one in inputs], [(one.namespace, one.name) for one in outputs]


@pytest.fixture(autouse=True)
def connections(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.providers.postgres.hooks.postgres import PostgresHook

    monkeypatch.setenv("AIRFLOW_CONN_PG", "postgres://user:secret@db.example:5433/shop")
    monkeypatch.setenv("AIRFLOW_CONN_LITE", "sqlite:///tmp/tables.db")
    # The one question that is put to the server.
    monkeypatch.setattr(PostgresHook, "get_openlineage_default_schema", lambda self: "public")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("/data/tickets.csv", ("file", "/data/tickets.csv")),
        ("file:///data/tickets.csv", ("file", "/data/tickets.csv")),
        ("/data/2026-*/part-[0-9].jsonl.gz", ("file", "/data")),
        ("s3://bucket/in/tickets.parquet", ("s3://bucket", "in/tickets.parquet")),
        ("s3://my_conn@bucket/in/*.csv", ("s3://bucket", "in")),
        ("gs://bucket/*.csv", ("gs://bucket", "/")),
    ],
)
def test_files_are_a_dataset_and_a_glob_is_its_folder(url: str, name: tuple[str, str]) -> None:
    assert names(rows=url) == ([name], [])


def test_a_list_of_rows_is_no_dataset() -> None:
    assert names() == ([], [])


def test_results_are_a_folder() -> None:
    assert names(result_path="s3://bucket/out/2026-11-26/") == (
        [],
        [("s3://bucket", "out/2026-11-26/results")],
    )


def test_a_query_reads_its_tables_and_the_write_back_writes_one() -> None:
    sql = "SELECT t.id, c.name FROM tickets t JOIN crm.customers c ON c.id = t.customer WHERE t.x LIKE '%x'"
    inputs, outputs = names(rows=sql, rows_conn_id="pg", write_conn_id="pg", write_table="marts.labels")
    assert sorted(inputs) == [
        ("postgres://db.example:5433", "shop.crm.customers"),
        ("postgres://db.example:5433", "shop.public.tickets"),
    ]
    assert outputs == [("postgres://db.example:5433", "shop.marts.labels")]


@pytest.mark.parametrize(
    ("sql", "conn_id"),
    [("SELECT 1 AS id", "pg"), ("no SQL at all (", "pg"), ("SELECT * FROM t", "lite"), ("", "gone")],
)
def test_what_cannot_be_told_is_left_out(sql: str, conn_id: str) -> None:
    told = names(rows=sql, rows_conn_id=conn_id, result_path="/out")
    assert told == ([], [("file", "/out/results")])
