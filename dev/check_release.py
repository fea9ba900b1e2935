"""The last look before a release: the tag is the package's version, and the changelog has its section."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def problems(tag: str, version: str, changelog: str) -> list[str]:
    """
    Return what is wrong with a release.

    :param tag: the tag, such as ``v1.2.0``.
    :param version: of the package.
    :param changelog: the text of ``CHANGELOG.md``.
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
    return found


def main() -> int:
    """Look at the tag on the command line, and return the exit code."""
    source = (ROOT / "airflow_provider_xpander" / "__init__.py").read_text()
    version = re.search(r'^__version__ = "([^"]+)"', source, re.MULTILINE)
    if version is None:
        print("the package has no version", file=sys.stderr)
        return 1
    found = problems(sys.argv[1], version[1], (ROOT / "CHANGELOG.md").read_text())
    print("\n".join(found) or f"{sys.argv[1]} can be released", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
