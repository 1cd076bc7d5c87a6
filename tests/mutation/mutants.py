"""Mutants: what can be changed in a module, one small change at a time, on its syntax tree.

Left alone is what tests cannot or need not see: annotations, docstrings, `__slots__`, `__all__`, what
stands under TYPE_CHECKING, bodies of Protocols, asserts, and texts for people (strings with a space, f-strings).
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType
from typing import cast

_COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_COUNTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}
_DELETED = (ast.Expr, ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Delete, ast.Raise)
_UNSEEN_NAMES = {"__slots__", "__all__"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one module.

    Attributes:
        path: of the module, from the root of the project.
        line: where the change is.
        before, after: the changed piece of source.
        number: its place among all mutants of the module.
        text: the line of source.
    """

    path: str
    line: int
    before: str
    after: str
    number: int
    text: str

    def __str__(self) -> str:
        """Return it as one line of a report."""
        change = f"{self.path}:{self.line}: {self.before}  →  {self.after}"
        return change if self.text.startswith(self.before) else f"{change}  in  {self.text}"


def mutants(path: str, source: str) -> list[Mutant]:
    """Return every mutant of a module, in a stable order."""
    lines = source.splitlines()
    return [
        Mutant(path, line, _shown(node), _shown(changed), number, lines[line - 1].strip())
        for number, (node, changed) in enumerate(_changes(ast.parse(source)))
        for line in [_line(node)]
    ]


def mutated(mutant: Mutant, source: str, filename: str) -> CodeType:
    """Compile a module with one change in it."""
    tree = ast.parse(source)
    for number, (node, changed) in enumerate(_changes(tree)):
        if number == mutant.number:
            _Swap(node, changed).visit(tree)
            break
    return compile(ast.fix_missing_locations(tree), filename, "exec", dont_inherit=True)


class _Swap(ast.NodeTransformer):
    """Put one node in another's place."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self._old = old
        self._new = new

    def visit(self, node: ast.AST) -> ast.AST:
        """Visit everything but what was swapped."""
        return self._new if node is self._old else self.generic_visit(node)


def _changes(tree: ast.Module) -> Iterator[tuple[ast.AST, ast.AST]]:
    for node in _seen(tree):
        for changed in _variants(node):
            if isinstance(changed, (ast.stmt, ast.expr)) and isinstance(node, (ast.stmt, ast.expr)):
                ast.copy_location(changed, node)
            yield node, changed


def _seen(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the node and what is below it, but for what tests cannot see."""
    if _is_unseen(node):
        return
    yield node
    for field, value in ast.iter_fields(node):
        if field in {"annotation", "returns", "decorator_list", "bases"}:
            continue
        below = cast("list[object]", value) if isinstance(value, list) else [value]
        for child in below:
            if isinstance(child, ast.AST):
                yield from _seen(child)


def _is_unseen(node: ast.AST) -> bool:
    match node:
        case ast.Assert() | ast.JoinedStr():
            return True
        case ast.Expr(value=ast.Constant()):
            return True  # a docstring or an ellipsis
        case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Compare(left=ast.Name(id="__name__"))):
            return True
        case ast.Assign(targets=[ast.Name(id=name)]) if name in _UNSEEN_NAMES:
            return True
        case ast.Assign(value=ast.BinOp(op=ast.BitOr())):
            return True  # a union of types
        case ast.Call(func=ast.Name(id="TypeVar" | "cast")):
            return True
        case ast.ClassDef(bases=bases):
            return any("Protocol" in ast.unparse(base) for base in bases)
        case _:
            return False


def _variants(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare():
            yield from _compared(node)
        case ast.BinOp(op=op):
            yield _with(node, "op", _COUNTED[type(op)]()) if type(op) in _COUNTED else node
        case ast.BoolOp(op=op):
            yield _with(node, "op", ast.Or() if isinstance(op, ast.And) else ast.And())
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield copy.deepcopy(operand)
        case ast.Constant():
            yield from _constants(node)
        case ast.If() | ast.While() | ast.IfExp():
            if not isinstance(node.test, (ast.Compare, ast.UnaryOp)):
                yield _with(node, "test", ast.UnaryOp(ast.Not(), node.test))
        case ast.match_case(guard=None, pattern=pattern):
            if not _is_wildcard(pattern):
                yield _with(node, "guard", ast.Constant(value=False))
        case ast.stmt():
            yield from _statements(node)
        case _:
            pass


def _compared(node: ast.Compare) -> Iterator[ast.AST]:
    for index, op in enumerate(node.ops):
        for other in _COMPARED[type(op)]:
            ops: list[ast.cmpop] = [*node.ops[:index], other(), *node.ops[index + 1 :]]
            yield _with(node, "ops", ops)


def _constants(node: ast.Constant) -> Iterator[ast.AST]:
    value = node.value
    if isinstance(value, bool):
        yield ast.Constant(value=not value)
    elif isinstance(value, (int, float)):
        yield ast.Constant(value=value + 1)
    elif isinstance(value, str) and " " not in value:
        yield ast.Constant(value=value + "XX")


def _statements(node: ast.stmt) -> Iterator[ast.AST]:
    match node:
        case ast.Return(value=None | ast.Constant()):
            pass  # a constant is changed itself
        case ast.Return():
            yield ast.Return(ast.Constant(value=None))
        case ast.Break():
            yield ast.Continue()
        case ast.Continue():
            yield ast.Break()
        case ast.AugAssign(op=op):
            if type(op) in _COUNTED:
                yield _with(node, "op", _COUNTED[type(op)]())
            yield ast.Pass()
        case ast.AnnAssign(value=None) | ast.AnnAssign(target=ast.Name()):
            pass  # a declaration; a field of a class
        case ast.Assign(targets=[ast.Name() | ast.Tuple()]):
            pass  # a name that is missing is noticed too easily to count
        case _ if isinstance(node, _DELETED):
            yield ast.Pass()
        case _:
            pass


def _with(node: ast.AST, field: str, value: object) -> ast.AST:
    """Return a shallow copy of a node with one field changed."""
    changed = copy.copy(node)
    setattr(changed, field, value)
    return changed


def _is_wildcard(pattern: ast.pattern) -> bool:
    return isinstance(pattern, ast.MatchAs) and pattern.pattern is None


def _line(node: ast.AST) -> int:
    if isinstance(node, ast.match_case):
        return node.pattern.lineno
    return node.lineno if isinstance(node, (ast.stmt, ast.expr)) else 1


def _shown(node: ast.AST) -> str:
    """Return the first line of a node's source."""
    return (
        ast.unparse(ast.fix_missing_locations(copy.deepcopy(node))).strip().split("\n", 1)[0][:90]
    )
