"""What waiting costs: this provider beside naive ones and beside peers. See ``docs/benchmarks.md``."""
