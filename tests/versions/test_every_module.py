"""Each module of the package, imported in a fresh interpreter."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import airflow_provider_xpander

PACKAGE = "airflow_provider_xpander"
NAMES = [module.name for module in pkgutil.walk_packages(airflow_provider_xpander.__path__, f"{PACKAGE}.")]
CODE = f"""
import importlib, warnings
warnings.filterwarnings("error", module="{PACKAGE}")
for name in {[name for name in NAMES if not name.endswith("__main__")]}:
    importlib.import_module(name)
"""


def test_it_can_be_imported_and_imports_nothing_that_airflow_has_moved() -> None:
    run = subprocess.run([sys.executable, "-c", CODE], stderr=subprocess.PIPE, timeout=100, check=False)
    assert run.returncode == 0, run.stderr.decode()
