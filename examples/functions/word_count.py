"""Count words: nested models as parameters and as the result."""

from __future__ import annotations

import re
from collections import Counter
from typing import Annotated

from pydantic import BaseModel, Field

from cabrank import function

_WORD = re.compile(r"\w+(?:['’]\w+)*")


class Options(BaseModel, extra="forbid"):
    """How words are counted."""

    min_length: Annotated[int, Field(ge=1)] = 1
    ignore_case: bool = True
    stop_words: list[str] = []


class WordCount(BaseModel):
    """How often a word occurs."""

    word: str
    count: int


@function(timeout_s=30, idempotent=True, log_result=False)
def word_count(
    text: Annotated[str, Field(max_length=5_000_000)],
    top: Annotated[int, Field(ge=1, le=1000)] = 10,
    options: Options | None = None,
) -> list[WordCount]:
    """Count the words of a text and return the most frequent ones, ties in alphabetical order."""
    how = options or Options()
    words = _WORD.findall(text.lower() if how.ignore_case else text)
    counts = Counter(word for word in words if len(word) >= how.min_length)
    for word in how.stop_words:
        counts.pop(word.lower() if how.ignore_case else word, None)
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [WordCount(word=word, count=count) for word, count in ranked[:top]]
