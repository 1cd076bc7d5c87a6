"""Reads the source of the installed Python standard library: what the code functions share.

The underscore keeps the file from being looked into for functions.
"""

from __future__ import annotations

import ast
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LIBRARY = Path(sysconfig.get_paths()["stdlib"])

_BLOCKS = (
    ast.AsyncFor,
    ast.AsyncFunctionDef,
    ast.AsyncWith,
    ast.ClassDef,
    ast.For,
    ast.FunctionDef,
    ast.If,
    ast.Match,
    ast.Try,
    ast.While,
    ast.With,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LongestFunction:
    """The longest function seen."""

    name: str
    file: str  # relative to the library
    line: int
    lines: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStats:
    """What one source file holds."""

    file: str  # relative to the library
    lines: int
    functions: int
    classes: int
    imports: frozenset[str]  # top-level names of the imported modules
    max_nesting: int  # blocks inside blocks; a function at the top level is 1
    longest: LongestFunction | None


def names() -> list[str]:
    """Return the library's top-level modules and all of its packages that have Python source, sorted."""
    found = {name for name in sys.stdlib_module_names if (LIBRARY / f"{name}.py").is_file()}
    for top in sys.stdlib_module_names:
        for init in (LIBRARY / top).rglob("__init__.py"):
            found.add(".".join(init.parent.relative_to(LIBRARY).parts))
    return sorted(name for name in found if all(part.isidentifier() for part in name.split(".")))


def files_of(package: str) -> list[Path]:
    """Return the source files of a module or package, such as `json` or `xml.dom`, sorted.

    Raises:
        ValueError: the library has no source under that name.
    """
    parts = package.split(".")
    if parts[0] not in sys.stdlib_module_names or not all(part.isidentifier() for part in parts):
        raise ValueError(f"the standard library has no module or package called '{package}'")
    folder, module = LIBRARY.joinpath(*parts), LIBRARY.joinpath(*parts).with_suffix(".py")
    files = (
        sorted(folder.rglob("*.py")) if folder.is_dir() else [module] if module.is_file() else []
    )
    if not files:
        raise ValueError(f"the standard library has no Python source for '{package}'")
    return files


def read(file: Path) -> FileStats:
    """Parse one file; one that this Python cannot parse (test data) counts its lines only."""
    data = file.read_bytes()
    name = file.relative_to(LIBRARY).as_posix()
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError):
        tree = ast.Module(body=[], type_ignores=[])
    nodes = list(ast.walk(tree))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return FileStats(
        file=name,
        lines=data.count(b"\n") + (not data.endswith(b"\n") and bool(data)),
        functions=len(functions),
        classes=sum(isinstance(node, ast.ClassDef) for node in nodes),
        imports=frozenset(module for node in nodes for module in _imports(node)),
        max_nesting=_nesting(tree),
        longest=max(
            (_measure(node, name) for node in functions), key=lambda one: one.lines, default=None
        ),
    )


def _imports(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        yield node.module.partition(".")[0]


def _measure(node: ast.FunctionDef | ast.AsyncFunctionDef, file: str) -> LongestFunction:
    last = node.end_lineno or node.lineno
    return LongestFunction(
        name=node.name, file=file, line=node.lineno, lines=last - node.lineno + 1
    )


def _nesting(tree: ast.AST) -> int:
    deepest = 0
    waiting: list[tuple[ast.AST, int]] = [(tree, 0)]
    while waiting:
        node, depth = waiting.pop()
        depth += isinstance(node, _BLOCKS)
        deepest = max(deepest, depth)
        waiting.extend(
            (child, depth - _is_elif(node, child)) for child in ast.iter_child_nodes(node)
        )
    return deepest


def _is_elif(node: ast.AST, child: ast.AST) -> bool:
    """Tell an `elif`, which the tree keeps as an `if` inside the `else`, one block deeper."""
    return isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
