"""
Licences of what the package brings along: a table in ``docs/compatibility.md``, written by ``make licences``.

Airflow's own tree is left out: whoever installs the provider has it already.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "compatibility.md"
BEGIN, END = "<!-- licences: made by `make licences` -->\n", "<!-- end of licences -->"
ALLOWED = re.compile(r"^(Apache-2\.0|MIT|BSD-[23]-Clause|PSF-2\.0|MPL-2\.0|ISC)$")
# What packages say instead of the name by SPDX.
SAID = {
    "Apache Software License": "Apache-2.0",
    "Apache Software License v2": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "MIT License": "MIT",
    "BSD License": "BSD-3-Clause",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}


def tree(needs: Iterable[str], extras: frozenset[str], seen: set[str]) -> Iterator[Distribution]:
    """
    Yield the distributions that are needed, without Airflow's, each once.

    :param needs: requirements, as a package states them.
    :param extras: those of it that are asked for.
    :param seen: names that were yielded; it is added to.
    """
    for needed in map(Requirement, needs):
        marker = needed.marker
        wanted = marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))
        key = re.sub(r"[-_.]+", "-", needed.name).lower()
        if not wanted or key in seen or key.startswith("apache-airflow"):
            continue
        seen.add(key)
        try:
            found = distribution(key)
        except PackageNotFoundError:
            continue  # for another platform
        yield found
        yield from tree(found.requires or (), frozenset(needed.extras), seen)


def licence(package: Distribution) -> str:
    """
    Return the licence of a package, by SPDX.

    :param package: the installed package.
    """
    told = package.metadata
    if told.get("License-Expression"):
        return str(told["License-Expression"])
    lines = [line.rpartition(" :: ")[2] for line in told.get_all("Classifier") or () if "License ::" in line]
    short = str(told.get("License") or "").strip().partition("\n")[0]
    return next((SAID.get(name, name) for name in [*lines, short] if name), "unknown")


def licences() -> dict[str, str]:
    """Return name and licence of each package that the provider brings along, sorted."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    needs = [*project["dependencies"], *(one for extra in extras for one in extra)]
    found = {one.metadata["Name"].lower(): licence(one) for one in tree(needs, frozenset(), set())}
    return dict(sorted(found.items()))


def main() -> int:
    """Write the table, and fail for a licence that nobody has looked at."""
    found = licences()
    rows = "".join(f"| `{name}` | {said} |\n" for name, said in found.items())
    before, _, rest = PAGE.read_text().partition(BEGIN)
    table = f"{BEGIN}\n| package | licence |\n|---|---|\n{rows}\n{END}"
    PAGE.write_text(f"{before}{table}{rest.partition(END)[2]}")
    bad = {
        name: said
        for name, said in found.items()
        if not all(map(ALLOWED.match, re.split(r" (?:AND|OR) ", said)))
    }
    print("\n".join(f"{name}: {said}" for name, said in bad.items()) or f"{len(found)} licences are fine")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
