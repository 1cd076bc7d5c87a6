"""Every test of the command line runs in an empty folder, with nothing configured."""

from __future__ import annotations

from pathlib import Path

import pytest

CONFIGURED = (
    "HOST", "PORT", "SLOTS", "FUNCTIONS", "GROUP", "CONTRACT", "STORE_URL", "WORKERS_FILE",
    "AUTH_KEY", "LB_AUTH_KEY", "CABRANK_URL", "REDIS_HOST",
)  # fmt: skip


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that is worked in."""
    for name in CONFIGURED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path
