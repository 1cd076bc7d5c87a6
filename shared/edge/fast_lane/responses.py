"""Answers as bytes: status line and headers, most of which are the same for a second."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from shared.edge.answers import Answer


class Responses:
    """Words the heads of answers.

    Args:
        software: the Server header.
        now: for the Date header.
    """

    def __init__(self, software: str, now: datetime) -> None:
        self._software = software
        self._date = ""
        self._known: dict[tuple[int, str], bytes] = {}
        self.date(now)

    def date(self, now: datetime) -> None:
        """Set the Date header; once a second is often enough."""
        self._date = formatdate(now.timestamp(), usegmt=True)
        self._known.clear()

    def head(self, answer: Answer, correlation_id: str, *, last: bool) -> bytes:
        """Return everything that comes before the body of an answer.

        Args:
            answer: whose head it is.
            correlation_id: of the request.
            last: the connection is closed after it.
        """
        known = self._known.get((answer.status, answer.content_type)) or self._begin(answer)
        more = b""
        if last or answer.headers:
            more = _lines(answer, last=last)
        return b"%b%d\r\nx-correlation-id: %b%b\r\n\r\n" % (
            known, len(answer.body), correlation_id.encode(), more,
        )  # fmt: skip

    def _begin(self, answer: Answer) -> bytes:
        """Return the constant part, up to the value of Content-Length."""
        lines = (
            f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}",
            f"Content-Type: {answer.content_type}",
            f"Date: {self._date}",
            f"Server: {self._software}",
            "Content-Length: ",
        )
        text = "\r\n".join(lines).encode()
        self._known[answer.status, answer.content_type] = text
        return text


def _lines(answer: Answer, *, last: bool) -> bytes:
    headers = [*answer.headers, ("Connection", "close")] if last else answer.headers
    return "".join(f"\r\n{name}: {value}" for name, value in headers).encode("latin-1")
