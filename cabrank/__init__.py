"""The one name that users import: the authoring API and the client."""

from __future__ import annotations
