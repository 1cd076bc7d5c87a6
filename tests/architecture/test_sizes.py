"""The shape of the code, measured: small files, small functions, no drawers for the unsorted."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.source_tree import ROOT, python_files

MAX_LINES = 400  # a file that is read in one sitting
MAX_TEST_LINES = 500  # tables of cases are long and easy
MAX_FUNCTION_LINES = 50  # one screen
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}

FILES = python_files()


def _id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _limit(path: Path) -> int:
    return MAX_TEST_LINES if path.is_relative_to(ROOT / "tests") else MAX_LINES


def _long_functions(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                yield f"line {node.lineno}: {node.name} has {lines} lines"


def test_there_is_code_to_measure() -> None:
    """The tables below are not empty by mistake."""
    assert len(FILES) > 20


@pytest.mark.parametrize("path", FILES, ids=_id)
def test_a_file_is_short(path: Path) -> None:
    """No file outgrows what one reader holds in mind; there is no list of exceptions."""
    assert len(path.read_text("utf-8").splitlines()) <= _limit(path)


@pytest.mark.parametrize("path", FILES, ids=_id)
def test_a_function_is_short(path: Path) -> None:
    """No function is longer than a screen."""
    assert list(_long_functions(path.read_text("utf-8"))) == []


@pytest.mark.parametrize("path", FILES, ids=_id)
def test_a_module_is_named_for_one_thing(path: Path) -> None:
    """No module or folder is a drawer: what it holds has a name."""
    parts = {part.removesuffix(".py").strip("_") for part in path.relative_to(ROOT).parts}
    assert parts & FORBIDDEN_NAMES == set()


@pytest.mark.parametrize(
    ("body_lines", "found"), [(MAX_FUNCTION_LINES - 1, 0), (MAX_FUNCTION_LINES, 1)]
)
def test_the_measure_counts_the_signature_too(body_lines: int, found: int) -> None:
    """Fifty lines are the whole function, its signature included."""
    source = "def f():\n" + "    pass\n" * body_lines
    assert len(list(_long_functions(source))) == found
