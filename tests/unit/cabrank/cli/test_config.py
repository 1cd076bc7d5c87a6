"""Where the fleet is, and with which key."""

from __future__ import annotations

from pathlib import Path

import pytest

from cabrank.cli.config import load_call_settings
from shared.errors import ConfigError


def test_nothing_is_configured(empty_folder: Path) -> None:
    """The default address and no key; looking for one makes none."""
    settings = load_call_settings(None, None)
    assert (settings.cabrank_url, settings.lb_auth_key) == ("http://127.0.0.1:4000", None)
    assert list(empty_folder.iterdir()) == []


def test_each_source_wins_over_the_one_below(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Generated key, then `.env`, then the environment, then the option."""
    (empty_folder / ".cabrank").mkdir()
    (empty_folder / ".cabrank" / "lb_auth_key").write_text("generated\n")
    keys = [load_call_settings(None, None).lb_auth_key]
    (empty_folder / ".env").write_text("LB_AUTH_KEY=from-file\nCABRANK_URL=http://file:1\n")
    keys.append(load_call_settings(None, None).lb_auth_key)
    monkeypatch.setenv("LB_AUTH_KEY", "from-environment")
    keys.append(load_call_settings(None, None).lb_auth_key)
    keys.append(load_call_settings(None, "from-option").lb_auth_key)
    assert keys == ["generated", "from-file", "from-environment", "from-option"]
    assert load_call_settings(None, None).cabrank_url == "http://file:1"
    assert load_call_settings("http://option:1", None).cabrank_url == "http://option:1"


def test_a_bad_file_is_said(empty_folder: Path) -> None:
    """An option that cannot be is a message, not a traceback."""
    with pytest.raises(ConfigError, match="CABRANK_URL"):
        load_call_settings(3, None)  # pyright: ignore[reportArgumentType] # what a bad source would give
