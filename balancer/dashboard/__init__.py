"""The static page that shows the fleet; reads only the HTTP API and the event stream."""

from __future__ import annotations
