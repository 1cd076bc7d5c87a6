"""`/openapi` and `/docs` of both processes: the document, and Swagger UI from the installed package.

The page loads nothing from elsewhere, which its Content-Security-Policy also tells the browser.
Where the document needs a key, the page asks for it and keeps it for the tab.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from aiohttp import web
from swagger_ui_bundle import swagger_ui_path  # pyright: ignore[reportMissingTypeStubs]  # none exist

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_FILES = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
_POLICY = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
_START = """\
const KEY = "cabrank.key";

function withKey(request) {
  const key = sessionStorage.getItem(KEY);
  if (key) request.headers["Authorization"] = key;
  return request;
}

async function start() {
  const asked = await fetch("/openapi", withKey({headers: {}}));
  const refused = asked.status === 401;
  document.getElementById("ask").hidden = !refused;
  document.getElementById("refused").hidden = !(refused && sessionStorage.getItem(KEY));
  if (refused) return;
  SwaggerUIBundle({spec: await asked.json(), dom_id: "#swagger-ui", deepLinking: true, requestInterceptor: withKey});
}

window.addEventListener("load", () => {
  document.getElementById("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(KEY, document.getElementById("key").value);
    start();
  });
  start();
});
"""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: routes and functions</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
</head>
<body>
<main id="ask" hidden>
<h1>{title}</h1>
<p>Its routes and functions are shown to whoever has its key. This tab keeps the key until it is closed.</p>
<form id="key-form">
<p><label for="key">Key (LB_AUTH_KEY):</label>
<input id="key" type="password" autocomplete="off" required autofocus> <button>Open</button></p>
<p id="refused" role="alert" hidden>This key was refused.</p>
</form>
</main>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""


class DocsPages:
    """Serves an OpenAPI document and the page that shows it.

    Args:
        title: of the page; plain text of ours.
        document: makes the document; called at each request, because what is hosted changes.
    """

    def __init__(self, title: str, document: Callable[[], dict[str, object]]) -> None:
        self._page = _PAGE.format(title=title)
        self._document = document

    def routes(
        self, guard: Callable[[Handler], Handler] = lambda open_: open_
    ) -> list[web.RouteDef]:
        """Return the routes; the document alone says anything, so it alone is guarded."""
        return [
            web.get("/openapi", guard(self.openapi)),
            web.get("/docs", self.page),
            web.get("/docs/start.js", self.start),
            web.get("/docs/{name}", self.file),
        ]

    async def openapi(self, request: web.Request) -> web.StreamResponse:
        """Serve the document."""
        del request
        return web.Response(text=json.dumps(self._document()), content_type="application/json")

    async def page(self, request: web.Request) -> web.StreamResponse:
        """Serve the page."""
        del request
        headers = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"}
        return web.Response(text=self._page, content_type="text/html", headers=headers)

    async def start(self, request: web.Request) -> web.StreamResponse:
        """Serve the lines that start Swagger UI; inline they would break the policy."""
        del request
        return web.Response(text=_START, content_type="text/javascript")

    async def file(self, request: web.Request) -> web.StreamResponse:
        """Serve one of the files that the page needs."""
        name = request.match_info["name"]
        if name not in _FILES:
            raise web.HTTPNotFound
        path = swagger_ui_path / name
        return web.FileResponse(path, headers={"Content-Type": _FILES[name]})
