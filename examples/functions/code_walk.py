"""Walk through one big package and report file by file: a generator, each `yield` a piece."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from cabrank import Context, function

from ._source import files_of, read

if TYPE_CHECKING:
    from collections.abc import Generator


@function(timeout_s=120)
def code_walk(
    package: Annotated[str, Field(min_length=1, max_length=100)] = "asyncio", *, ctx: Context
) -> Generator[dict[str, object], None, dict[str, object]]:
    """Report on each file of a standard library package as it is parsed, and on all at the end."""
    files = files_of(package)
    lines = 0
    for done, file in enumerate(files, start=1):
        one = read(file)
        lines += one.lines
        ctx.progress(done, len(files), one.file)
        yield {
            "file": one.file,
            "lines": one.lines,
            "functions": one.functions,
            "classes": one.classes,
        }
    return {"package": package, "files": len(files), "lines": lines}
