"""`GET /`: a small page that says what answers here."""

from __future__ import annotations

from html import escape

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"

HEADERS = {"Content-Security-Policy": _POLICY}

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Cabrank worker</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:38em;margin:3em auto;padding:0 1em}}</style>
</head>
<body>
<h1>Cabrank worker</h1>
<p>Version {version}, group <b>{group}</b>, contract {contract}, status <b>{status}</b>.</p>
<p>It runs functions: <code>POST /task</code> with
<code>{{"function": "…", "contract": {contract}, "input": {{}}}}</code> and the key in <code>Authorization</code>.</p>
<ul>
{docs}<li><a href="/health">/health</a>: status; with a key, everything</li>
<li><a href="/metrics">/metrics</a>: for Prometheus</li>
</ul>
</body>
</html>
"""
_DOCS = """<li><a href="/docs">/docs</a>: routes and functions (<a href="/openapi">OpenAPI</a>)</li>
"""


def page(*, version: str, group: str, contract: int, status: str, docs: bool) -> str:
    """Return the page's HTML."""
    return _PAGE.format(
        version=escape(version),
        group=escape(group),
        contract=contract,
        status=escape(status),
        docs=_DOCS if docs else "",
    )
