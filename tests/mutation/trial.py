"""One trial: a forked process that imports the mutated module and runs the tests that should notice.

A fork costs milliseconds where a new interpreter costs a second, and a mutant that hangs or eats
memory is ended by limits of the kernel. The limit is on processor time: a busy machine does not lengthen it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.machinery
import io
import os
import resource
import signal
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import CodeType, ModuleType

import hypothesis
import pytest

CPU_S = 30  # of one trial; all tests of a folder together take less than half of it
WALL_S = 240  # a mutant that waits uses no processor time
MEMORY_BYTES = 4 << 30  # address space
PROFILE = "mutation"

# Loaded before the fork they could be neither mutated nor read from the copy.
_OURS = ("balancer", "cabrank", "shared", "tests", "worker")


class Verdict(StrEnum):
    """What became of a mutant."""

    KILLED = "killed"
    SURVIVED = "survived"
    TIMED_OUT = "timed out"


def warm_up(root: Path, folders: Sequence[str]) -> None:
    """Load whatever is not ours, and only that, so that no trial has to.

    Args:
        root: of a copy of the project.
        folders: of tests, relative to it.
    """
    here = Path.cwd()
    os.chdir(root)
    with contextlib.redirect_stdout(io.StringIO()):
        _pytest([" ".join(["--collect-only", *folders])])
    os.chdir(here)
    _forget_ours()
    gc.freeze()


def begin(root: Path, tests: Sequence[str], change: tuple[str, CodeType] | None) -> int:
    """Fork a trial and return its process id.

    Args:
        root: of a copy of the project.
        tests: files and folders, in the order in which they run.
        change: the path of a module and its mutated code; None runs the tests as they are.
    """
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        code = _run(root, tests, change)
    finally:
        os._exit(code)


def verdict(status: int) -> Verdict:
    """Return what the wait status of a trial says."""
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in {signal.SIGALRM, signal.SIGXCPU}:
        return Verdict.TIMED_OUT
    return Verdict.KILLED if status else Verdict.SURVIVED


def _run(root: Path, tests: Sequence[str], change: tuple[str, CodeType] | None) -> int:
    _limit()
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(silence, stream)
    os.chdir(root)
    sys.path.insert(0, str(root))
    _forget_ours()
    if change is not None:
        path, code = change
        sys.meta_path.insert(0, _Finder(_module_name(path), code))
    return _pytest(tests)


def _forget_ours() -> None:
    for name in [name for name in sys.modules if name.split(".", 1)[0] in _OURS]:
        del sys.modules[name]


def _pytest(tests: Iterable[str]) -> int:
    hypothesis.settings.register_profile(
        PROFILE,
        deadline=None,
        derandomize=True,  # the same examples for each mutant
        phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),  # none smaller is looked for
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    options = ["-x", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "-o", "timeout=0"]
    # Hypothesis is loaded already, by this module.
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    for some in tests:
        code = pytest.main([*options, f"--hypothesis-profile={PROFILE}", *some.split()])
        if code:
            return int(code)
    return 0


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 5))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(WALL_S)


def _module_name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


class _Finder(MetaPathFinder):
    """Gives one module code that is not in its file."""

    def __init__(self, name: str, code: CodeType) -> None:
        self._name = name
        self._code = code

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find the module as always, and exchange its loader."""
        if fullname != self._name:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(fullname, spec.origin, self._code)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads code that was compiled before."""

    def __init__(self, fullname: str, path: str, code: CodeType) -> None:
        super().__init__(fullname, path)
        self._code = code

    def get_code(self, fullname: str) -> CodeType | None:
        """Return it, whatever is in the file and in the cache of compiled files."""
        return self._code
