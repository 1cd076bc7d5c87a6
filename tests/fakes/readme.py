"""The code of README.md, block by block, so that tests run what users are told to run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
FENCE = "```"


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    heading: str  # that it stands under
    language: str
    code: str


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a Markdown text, in order."""
    found: list[Block] = []
    heading, language = "", ""
    lines: list[str] | None = None
    for line in text.splitlines():
        if line.startswith(FENCE):
            if lines is None:
                language, lines = line.removeprefix(FENCE), []
            else:
                found.append(Block(heading, language, "\n".join(lines) + "\n"))
                lines = None
        elif lines is not None:
            lines.append(line)
        elif line.startswith("#"):
            heading = line.lstrip("# ")
    return found


def readme_blocks() -> list[Block]:
    """Return the blocks of README.md."""
    return blocks(README.read_text("utf-8"))


def readme_code(heading: str, language: str, place: int = 0) -> str:
    """Return the code of a block of README.md by its heading, its language and its place there."""
    found = [
        each for each in readme_blocks() if (each.heading, each.language) == (heading, language)
    ]
    assert len(found) > place, f"README.md has no {language} block {place} under '{heading}'"
    return found[place].code


def placed(text: str, places: dict[str, str]) -> str:
    """Return a text of README.md with the addresses of this test in it; each must occur."""
    for told, real in places.items():
        assert told in text, f"README.md does not say {told!r} any more"
        text = text.replace(told, real)
    return text
