"""The last look before a release: tag, version, the section of the changelog, and who publishes it."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def problems(tag: str, version: str, changelog: str, source: str) -> list[str]:
    """
    Return what is wrong with a release.

    :param tag: the tag, such as ``v1.2.0``.
    :param version: of the package.
    :param changelog: the text of ``CHANGELOG.md``.
    :param source: the address of the repository.
    """
    found = []
    if tag != f"v{version}":
        found.append(f"the tag is {tag}, but the package has the version {version}")
    section = re.search(
        rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$(.*?)(?=^## |\Z)",
        changelog,
        re.MULTILINE | re.DOTALL,
    )
    if section is None:
        found.append(f'CHANGELOG.md has no section "## [{version}] - <date>"')
    elif not section[1].strip():
        found.append(f"the section of {version} in CHANGELOG.md is empty")
    if "/OWNER/" in source:
        found.append("nobody publishes it yet: make owner NAME=...")
    return found


def main() -> int:
    """Look at the tag on the command line, and return the exit code."""
    module = (ROOT / "airflow_provider_xpander" / "__init__.py").read_text()
    version = re.search(r'^__version__ = "([^"]+)"', module, re.MULTILINE)
    if version is None:
        print("the package has no version", file=sys.stderr)
        return 1
    source = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Source"]
    found = problems(sys.argv[1], version[1], (ROOT / "CHANGELOG.md").read_text(), source)
    print("\n".join(found) or f"{sys.argv[1]} can be released", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
