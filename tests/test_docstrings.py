"""Docstrings: each parameter of a public function is explained, each module says what it holds."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_xpander.operators.base import RUN_PARAMETERS

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "airflow_provider_xpander"

# Methods whose name, arguments and meaning are those of a base class: of Airflow (BaseOperator, BaseTrigger,
# BaseSensorOperator, BaseHook, BaseOperatorLink, RetryPolicy) or of requests (HTTPAdapter).
OVERRIDES = frozenset(
    {
        "defer",
        "deserialize",
        "evaluate",
        "execute",
        "get_connection_with_tls_context",
        "get_link",
        "get_openlineage_facets_on_complete",
        "get_openlineage_facets_on_failure",
        "get_openlineage_facets_on_start",
        "poke",
        "render_template_fields",
        "resume_execution",
    }
)
QUESTION = re.compile(r"^(What|Whether|How|When|Which|Who|Where|Why)\b")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def missing(tree: ast.Module) -> Iterator[str]:
    """Yield what is not explained in a module, as ``function: parameter``."""
    for name, function, owner in public_functions(tree):
        doc = ast.get_docstring(function) or ""
        if function.name == "__init__" and owner is not None:
            doc += "\n" + (ast.get_docstring(owner) or "")
        explained = set(re.findall(r"^\s*:param (?:[^\s:]+ )?\*{0,2}(\w+):", doc, re.MULTILINE))
        if "in RUN_PARAMETERS" in ast.unparse(function):  # it hands them on to the class that explains them
            explained |= RUN_PARAMETERS
        yield from (
            f"{name}: {parameter}" for parameter in parameters(function, owner) if parameter not in explained
        )


def public_functions(tree: ast.Module) -> Iterator[tuple[str, Function, ast.ClassDef | None]]:
    """Yield the functions and methods that are public, with their class."""
    for node in tree.body:
        if isinstance(node, Function) and is_public(node):
            yield node.name, node, None
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for member in node.body:
                if isinstance(member, Function) and (is_public(member) or member.name == "__init__"):
                    yield f"{node.name}.{member.name}", member, node


def is_public(function: Function) -> bool:
    decorators = {ast.unparse(decorator) for decorator in function.decorator_list}
    return (
        not function.name.startswith("_") and function.name not in OVERRIDES and "overload" not in decorators
    )


def parameters(function: Function, owner: ast.ClassDef | None) -> list[str]:
    arguments = function.args
    positional = [argument.arg for argument in arguments.posonlyargs + arguments.args]
    static = any(ast.unparse(decorator) == "staticmethod" for decorator in function.decorator_list)
    if owner is not None and not static:
        positional = positional[1:]
    rest = [argument.arg for argument in (arguments.vararg, arguments.kwarg) if argument is not None]
    return positional + [argument.arg for argument in arguments.kwonlyargs] + rest


def modules(folder: Path = PACKAGE) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_each_parameter_of_a_public_function_is_explained(path: Path) -> None:
    assert list(missing(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_module_has_a_docstring(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_the_docstring_of_a_module_begins_with_what_it_holds() -> None:
    docs = {
        str(path.relative_to(ROOT)): ast.get_docstring(ast.parse(path.read_text())) or ""
        for folder in ("airflow_provider_xpander", "tests", "dev", "benchmarks", "example_dags")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert len(docs) > 200
    assert {name: doc.splitlines()[0] for name, doc in docs.items() if QUESTION.match(doc)} == {}


def test_what_is_missing_is_found() -> None:
    source = '''
def public(one, *rest, two=1, **more):
    """
    Do.

    :param one: this.
    :param more: and that.
    """

def _private(one): ...

class Thing:
    """
    A thing.

    :param size: in bytes.
    """

    def __init__(self, size, colour): ...
    def grow(self, by): ...
    def execute(self, context): ...
    @staticmethod
    def of(name): ...
    @property
    def name(self): ...
'''
    assert list(missing(ast.parse(source))) == [
        "public: two", "public: rest", "Thing.__init__: colour", "Thing.grow: by", "Thing.of: name",
    ]  # fmt: skip
