"""Measurements of waits, beside naive ones and beside peers. See ``docs/benchmarks.md``."""
