"""The command line as a module: ``python -m airflow_provider_xpander``."""

from __future__ import annotations

import sys

from airflow_provider_xpander.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
