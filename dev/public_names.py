"""
Names that others rely on, collected from the code: ``make names`` writes them down.

They are in ``tests/golden/public_names.txt``, which a test compares with the code, and on the page
``docs/stability.md``.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from airflow_provider_xpander.cli.definition import COMMANDS, arguments_of
from airflow_provider_xpander.connection import FIELDS
from airflow_provider_xpander.get_provider_info import get_provider_info

ROOT = Path(__file__).parent.parent
PACKAGE = "airflow_provider_xpander"
GOLDEN = ROOT / "tests" / "golden" / "public_names.txt"
PAGE = ROOT / "docs" / "stability.md"
BEGIN, END = "<!-- names: made by `make names` -->\n", "<!-- end of names -->"
# Beside those that the provider info names.
MODULES = ("api.errors", "api.models", "decorators", "emulator", "retry_policy", "testing", "xcom")
CONSTANT = re.compile(r"^[A-Z][A-Z_]+_KEY$")


def collect() -> dict[str, list[str]]:
    """Return the names of each kind, sorted."""
    info = get_provider_info()
    classes, parameters = set[str](), set[str]()
    for module in public_modules(info):
        for name, thing in public_members(module):
            path = f"{module.__name__.removeprefix(f'{PACKAGE}.')}.{name}"
            classes.add(path)
            parameters |= set(parameters_of(path, thing))
    return {
        "Classes, functions and constants": sorted(classes),
        "Parameters": sorted(parameters),
        "XCom keys": sorted({"return_value", *xcom_keys()}),
        "Metrics": sorted(metrics()),
        "Fields of a connection": sorted(FIELDS),
        "Options of airflow.cfg": sorted(
            f"[xpander] {name}" for name in info["config"]["xpander"]["options"]
        ),
        "Commands": sorted(f"xpander-airflow {line}" for line in commands()),
        "Extras and entry points": sorted(extras_and_entry_points()),
    }


def public_modules(info: dict[str, Any]) -> list[Any]:
    """
    Return the modules whose names are public, imported.

    :param info: the provider info.
    """
    names = {
        name
        for kind in ("hooks", "operators", "sensors", "triggers")
        for entry in info[kind]
        for name in entry["python-modules"]
    }
    names |= {path.rpartition(".")[0] for path in (*info.get("notifications", ()), *info["extra-links"])}
    there = {
        f"{PACKAGE}.{name}"
        for name in MODULES
        if (ROOT / PACKAGE / f"{name.replace('.', '/')}.py").exists()
        or (ROOT / PACKAGE / name.replace(".", "/") / "__init__.py").exists()
    }
    return [importlib.import_module(name) for name in sorted(names | there)]


def public_members(module: Any) -> Iterator[tuple[str, Any]]:
    """
    Yield what a module offers: what is in ``__all__``, else the classes and functions that it defines.

    :param module: the module.
    """
    named = getattr(module, "__all__", None)
    for name in named or ():
        vars(module).setdefault(name, getattr(module, name))  # one that is imported when it is used
    for name, thing in list(vars(module).items()):
        own = getattr(thing, "__module__", None) == module.__name__ and inspect.isroutine(thing)
        own = own or (inspect.isclass(thing) and thing.__module__ == module.__name__)
        if name in named if named is not None else own and not name.startswith("_"):
            yield name, thing


def parameters_of(path: str, thing: Any) -> Iterator[str]:
    """
    Yield the parameters of a class, of its methods, or of a function, with their defaults.

    :param path: the name to show.
    :param thing: the class or function.
    """
    if not inspect.isclass(thing):
        if callable(thing):
            yield from signature(path, thing)
        return
    if issubclass(thing, BaseException):
        return
    yield from signature(path, thing.__init__)
    # An operator's and a trigger's methods are for Airflow to call.
    if not path.startswith(("operators.", "sensors.", "triggers.", "notifications.")):
        for name, function in inspect.getmembers(thing, inspect.isroutine):
            if not name.startswith("_") and getattr(function, "__module__", "").startswith(PACKAGE):
                yield f"{path}.{name}()"
                yield from signature(f"{path}.{name}", function)


def signature(path: str, function: Any) -> Iterator[str]:
    """
    Yield the named parameters of a function, each with its default.

    :param path: the name to show.
    :param function: the function.
    """
    if not getattr(inspect.unwrap(function), "__module__", "").startswith(PACKAGE):
        return
    for name, one in inspect.signature(function).parameters.items():
        if name not in ("self", "cls") and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
            plain = one.default is None or isinstance(one.default, str | int | float | tuple)
            default = "" if one.default is one.empty else f" = {one.default!r}" if plain else " = ..."
            yield f"{path}({name}{default})"


def xcom_keys() -> set[str]:
    """Return the keys under which this package pushes XComs."""
    from airflow_provider_xpander import task_instance, xcom

    found = {
        value
        for module in (xcom, task_instance)
        for name, value in vars(module).items()
        if CONSTANT.match(name) and isinstance(value, str)
    }
    return found - {task_instance.STORE_KEY}  # of Airflow's task state store


def metrics() -> set[str]:
    """Return the names of the metrics."""
    source = (ROOT / PACKAGE / "telemetry.py").read_text()
    attributes = {"xpander.ai", "xpander.task.id", "xpander.task.status"}
    return set(re.findall(r'"(xpander\.[a-z_.]+)"', source)) - attributes


def commands() -> Iterator[str]:
    """Yield each command with each of its arguments."""
    for command in COMMANDS:
        yield command.name
        for given in arguments_of(command):
            yield f"{command.name} {', '.join(given.flags)}"


def extras_and_entry_points() -> Iterator[str]:
    """Yield what an installation offers to pip, to the shell, and to other packages."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    yield from (f"[{name}]" for name in project["optional-dependencies"])
    groups = {"console_scripts": project["scripts"], **project["entry-points"]}
    yield from (f"{group}: {name}" for group, names in groups.items() for name in names)


def render(names: dict[str, list[str]]) -> str:
    """
    Return the text of the golden file.

    :param names: those of each kind.
    """
    return "\n".join("\n".join([f"# {kind}", "", *listed, ""]) for kind, listed in names.items())


def page_part(names: dict[str, list[str]]) -> str:
    """
    Return what the page about stability has of the names.

    :param names: those of each kind.
    """
    parts = ["\n".join([f"### {kind}", "", "```text", *listed, "```", ""]) for kind, listed in names.items()]
    return "\n".join([BEGIN, *parts, END])


def on_page(text: str, names: dict[str, list[str]]) -> str:
    """
    Return the page with these names.

    :param text: the page as it is.
    :param names: those of each kind.
    """
    before, _, rest = text.partition(BEGIN)
    return before + page_part(names) + rest.partition(END)[2]


def main() -> int:
    """Write the names down, and tell what has changed."""
    names = collect()
    old = set(GOLDEN.read_text().splitlines()) if GOLDEN.exists() else set()
    new = set(render(names).splitlines())
    GOLDEN.write_text(render(names))
    PAGE.write_text(on_page(PAGE.read_text(), names))
    for sign, lines in (("-", old - new), ("+", new - old)):
        print("".join(f"{sign} {line}\n" for line in sorted(lines)), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
