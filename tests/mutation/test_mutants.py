"""The mutants: what is changed, what is left alone, and that a trial notices what a test would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutation.mutants import mutants, mutated
from tests.mutation.trial import Verdict

PATH = "shared/module.py"
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("source", "changes"),
    [
        ("a < b", ["a <= b", "a >= b"]),
        ("a is not b", ["a is b"]),
        ("a < b <= c", ["a <= b <= c", "a >= b <= c", "a < b < c", "a < b > c"]),
        ("f(a + b)", ["pass", "a - b"]),
        ("a and b", ["a or b"]),
        ("not a", ["a"]),
        ("x.y = 1", ["pass", "2"]),
        ("x.y += a", ["x.y -= a", "pass"]),
        ("def f():\n return a", ["return None"]),
        ("while a:\n break", ["while not a:", "continue"]),
        ("f(True)", ["pass", "False"]),
        ("f('word')", ["pass", "'wordXX'"]),
        ("match a:\n case 1:\n  pass\n case _:\n  pass", ["case 1 if False:", "2"]),
    ],
)
def test_what_is_changed(source: str, changes: list[str]) -> None:
    """Comparisons, arithmetic, conditions, constants, statements and cases are changed, each alone."""
    found = [mutant.after for mutant in mutants(PATH, source)]
    assert [change for change in found if change != "pass" or "pass" in changes] == changes


@pytest.mark.parametrize(
    "source",
    [
        '"""Docstring."""',
        "assert a < b",
        "if TYPE_CHECKING:\n f(1)",
        "if __name__ == '__main__':\n f(1)",
        "__slots__ = ('a', 'b')",
        "class A(Protocol):\n def f(self) -> None: ...",
        "def f(a: Literal['b']) -> None: ...",
        "Both = A | B",
        "a = b",
        "x = f'{a} of {b + 1}'",
    ],
)
def test_what_is_left_alone(source: str) -> None:
    """Nothing that tests cannot see, or need not, is changed."""
    assert mutants(PATH, source) == []


def test_a_mutant_is_the_module_with_one_change() -> None:
    """The compiled code does what the report says, and only that."""
    source = "a = 1 + 2\nb = [a < 3, a]\n"
    results: list[object] = []
    for mutant in mutants(PATH, source):
        names: dict[str, object] = {}
        exec(mutated(mutant, source, PATH), names)
        results.append(names["b"])
    assert results == [[True, -1], [False, 4], [False, 4], [True, 3], [True, 3], [True, 3]]


# As `make mutation` does it: from a process that has no threads and nothing else to share.
_TRIAL = """
import os, sys
from pathlib import Path
from tests.mutation.trial import begin, verdict
change = ("planted.py", compile(sys.argv[2], "planted.py", "exec"))
_, status = os.waitpid(begin(Path(sys.argv[1]), ["test_planted.py"], change), 0)
print(verdict(status).value)
"""


@pytest.mark.parametrize(
    ("code", "expected"), [("a = 1", Verdict.SURVIVED), ("a = 2", Verdict.KILLED)]
)
def test_a_trial_runs_the_tests_against_the_mutated_code(
    tmp_path: Path, code: str, expected: Verdict
) -> None:
    """A trial sees the code it was given, not the file, which stays as it is."""
    (tmp_path / "planted.py").write_text("a = 0\n")
    (tmp_path / "test_planted.py").write_text(
        "from planted import a\n\n\ndef test_a():\n    assert a == 1\n"
    )
    line = [sys.executable, "-c", _TRIAL, str(tmp_path), code]
    said = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
    assert Verdict(said.stdout.strip()) is expected
    assert (tmp_path / "planted.py").read_text() == "a = 0\n"
