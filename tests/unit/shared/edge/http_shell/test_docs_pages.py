"""The page that shows the OpenAPI document: it asks for a key where one is needed, and loads only ours."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest

from shared.edge.http_shell import edge_application, listen
from shared.edge.http_shell.docs_pages import DocsPages
from shared.ids import SequentialIds
from tests.unit.shared.edge.http_shell.wire import exchange


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A server of the page."""
    app = edge_application(SequentialIds("made"))
    app.add_routes(DocsPages("A title", lambda: {"openapi": "3.1.0"}).routes())
    runner = await listen(app, SequentialIds("bad"), host="127.0.0.1", port=0)
    yield runner.port
    await runner.cleanup()


async def _get(port: int, path: str) -> tuple[int, dict[str, str], str]:
    sent = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    answered = await exchange(port, sent)
    return answered.status, answered.headers, answered.body.decode("utf-8", "replace")


async def test_the_page_loads_nothing_from_elsewhere(port: int) -> None:
    """And tells the browser to refuse it."""
    status, headers, page = await _get(port, "/docs")
    assert status == 200
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    linked: list[str] = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert linked
    for path in linked:
        assert path.startswith("/docs/")
        assert (await _get(port, path))[0] == 200


async def test_the_page_asks_for_the_key_and_says_when_it_was_refused(port: int) -> None:
    """With a heading, a label, and an alert that assistive technology reads; each hidden until needed."""
    page = (await _get(port, "/docs"))[2]
    script = (await _get(port, "/docs/start.js"))[2]
    assert '<main id="ask" hidden>\n<h1>A title</h1>' in page
    assert '<label for="key">' in page
    assert '<p id="refused" role="alert" hidden>' in page
    for name in re.findall(r'getElementById\("([^"]+)"\)', script):
        assert f'id="{name}"' in page


async def test_what_is_no_file_of_the_page_is_not_found(port: int) -> None:
    """Neither another file of the package, nor one outside of it."""
    for path in ("/docs/index.html", "/docs/..%2fwire.py", "/docs/%2e%2e"):
        assert (await _get(port, path))[0] == 404
