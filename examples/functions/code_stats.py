"""Parse the source of the Python standard library: real work with real input, in a thread."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from pydantic import Field

from cabrank import Context, function

from ._source import FileStats, files_of, names, read


@function(timeout_s=60, idempotent=True)
def list_packages(prefix: Annotated[str, Field(max_length=100)] = "") -> list[str]:
    """Name the top-level modules and the packages of the installed standard library, sorted."""
    return [name for name in names() if name.startswith(prefix)]


@function(timeout_s=120, idempotent=True, max_retries=1)
def code_stats(
    package: Annotated[str, Field(min_length=1, max_length=100)], *, ctx: Context
) -> dict[str, object]:
    """Count what a standard library package is made of: files, lines, functions, classes, imports.

    The numbers come from parsing every file of the package with `ast`.
    """
    files = files_of(package)
    stats: list[FileStats] = []
    for done, file in enumerate(files, start=1):
        if ctx.cancelled:
            raise RuntimeError("cancelled")  # a thread is not interrupted; it has to look
        stats.append(read(file))
        ctx.progress(done, len(files))
    longest = max(
        (one.longest for one in stats if one.longest is not None),
        key=lambda one: one.lines,
        default=None,
    )
    imports = frozenset[str]().union(*(one.imports for one in stats)) - {package.partition(".")[0]}
    return {
        "package": package,
        "files": len(stats),
        "lines": sum(one.lines for one in stats),
        "functions": sum(one.functions for one in stats),
        "classes": sum(one.classes for one in stats),
        "imports": sorted(imports),
        "max_nesting": max(one.max_nesting for one in stats),
        "longest_function": None if longest is None else asdict(longest),
    }
