"""`worker.config`: names, defaults and refusals of the worker's settings (contract §8)."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from shared.errors import ConfigError
from worker.config import WorkerSettings, load_settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No variable and no `.env` of whoever runs the tests."""
    for name in WorkerSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# (variable, field, default)
DEFAULTS: list[tuple[str, object]] = [
    ("auth_key", None), ("lb_auth_key", None), ("group", "default"), ("contract", 1),
    ("slots", 10), ("port", 3000), ("host", "127.0.0.1"), ("default_timeout", 30_000),
    ("log_level", "info"), ("max_logs", 1000), ("webhook_timeout", 5000),
    ("webhook_max_retries", 3), ("webhook_retry_delay", 1000), ("webhook_headers", ()),
    ("webhook_secret", ""), ("openapi_enabled", True), ("request_body_limit", 10 * 1024**2),
    ("max_queue", 1000), ("max_queue_bytes", 64 * 1024**2), ("functions", Path("functions")),
    ("keep_going", False),
]  # fmt: skip


@pytest.mark.parametrize(("field", "default"), DEFAULTS)
def test_defaults_are_those_of_the_contract(field: str, default: object) -> None:
    """Each is what contract §8 says."""
    assert getattr(load_settings({}), field) == default


READ: list[tuple[str, str, object]] = [
    ("REQUEST_BODY_LIMIT", "2kb", 2048),
    ("MAX_QUEUE_BYTES", "1gb", 1024**3),
    ("OPENAPI_ENABLED", "0", False),
    ("KEEP_GOING", "true", True),
    ("LOG_LEVEL", "WARNING", "warn"),
    ("WEBHOOK_HEADERS", '{"x-a": "b"}', (("x-a", "b"),)),
    ("PORT", "", 3000),
    ("SLOTS", "3", 3),
    ("FUNCTIONS", "a/b", Path("a/b")),
]


@pytest.mark.parametrize(("variable", "text", "value"), READ)
def test_variables_are_read(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, value: object
) -> None:
    """Sizes, switches, levels and JSON have their forms; an empty variable is not set."""
    monkeypatch.setenv(variable, text)
    assert getattr(load_settings({}), variable.lower()) == value


REFUSED: list[tuple[str, str, str]] = [
    ("PORT", "70000", "PORT='70000': input should be less than or equal to 65535"),
    ("SLOTS", "0", "SLOTS='0': input should be greater than or equal to 1"),
    ("OPENAPI_ENABLED", "yes", "OPENAPI_ENABLED='yes': expected true, false, 1 or 0"),
    ("WEBHOOK_HEADERS", "x", "WEBHOOK_HEADERS=***: expected a JSON object of strings"),
    ("WEBHOOK_HEADERS", '{"Host": "x"}', "WEBHOOK_HEADERS=***: header Host belongs to the connection"),
    ("WEBHOOK_SECRET", "hush", "WEBHOOK_SECRET=***: a webhook secret does not begin with whsec_"),
    ("WEBHOOK_ALLOW", "a/b", "WEBHOOK_ALLOW='a/b': 'a/b' is neither a host name nor a network"),
    ("HOST", "0.0.0.0", "AUTH_KEY and LB_AUTH_KEY: required because HOST=0.0.0.0 is not loopback"),
]  # fmt: skip


@pytest.mark.parametrize(("variable", "text", "said"), REFUSED)
def test_a_bad_value_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, said: str
) -> None:
    """The error has the variable, the value unless it is secret, and what is expected."""
    monkeypatch.setenv(variable, text)
    with pytest.raises(ConfigError) as refused:
        load_settings({})
    assert refused.value.message.startswith(said)
    assert "hush" not in refused.value.message


def test_options_win_over_environment_over_dotenv_over_defaults(
    monkeypatch: pytest.MonkeyPatch, clean_environment: Path
) -> None:
    """The order of the contract; an option that was not given changes nothing."""
    (clean_environment / ".env").write_text("SLOTS=2\nGROUP=file\nCONTRACT=2\n")
    monkeypatch.setenv("SLOTS", "3")
    monkeypatch.setenv("GROUP", "environment")
    settings = load_settings({"slots": 4, "group": None})
    assert (settings.slots, settings.group, settings.contract) == (4, "environment", 2)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.1.2.3"])
def test_loopback_needs_no_keys(host: str) -> None:
    """They are generated there, and webhooks may stay at home."""
    settings = load_settings({"host": host})
    assert settings.auth_key is None
    assert settings.allow_private_webhooks


def test_elsewhere_both_keys_are_needed() -> None:
    """One alone is not enough; with both, webhooks are guarded by default."""
    with pytest.raises(ConfigError, match=r"^LB_AUTH_KEY: required"):
        load_settings({"host": "0.0.0.0", "auth_key": "a"})
    settings = load_settings({"host": "0.0.0.0", "auth_key": "a", "lb_auth_key": "b"})
    assert not settings.allow_private_webhooks


def test_generated_keys_are_kept(clean_environment: Path) -> None:
    """They are made once, readable by their owner only; a configured one stays."""
    first = load_settings({}).with_keys()
    again = load_settings({"auth_key": "mine"}).with_keys()
    kept = clean_environment / ".cabrank" / "lb_auth_key"
    assert kept.read_text() == first.lb_auth_key == again.lb_auth_key
    assert kept.stat().st_mode & 0o777 == 0o600
    assert again.auth_key == "mine"


def test_keys_that_cannot_be_kept_stop_the_start(clean_environment: Path) -> None:
    """The error says where it was tried."""
    (clean_environment / ".cabrank").write_text("not a folder")
    with pytest.raises(ConfigError, match=r"AUTH_KEY: not set, and none can be kept in \.cabrank/"):
        load_settings({}).with_keys()


def test_secrets_are_not_shown() -> None:
    """The text form of the settings has no key."""
    settings = load_settings({"auth_key": "hush-a", "lb_auth_key": "hush-b"})
    assert "hush" not in repr(settings)


def test_the_id_is_the_machines_name_and_the_port() -> None:
    """Unless one is configured."""
    assert load_settings({}).id_on(3001) == f"{socket.gethostname()}:3001"
    assert load_settings({"worker_id": "w1"}).id_on(3001) == "w1"
