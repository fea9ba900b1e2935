"""The workshop around the package: a local Airflow for `make demo`, `make ui`, tests/e2e."""
