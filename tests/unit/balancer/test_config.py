"""Settings: every variable of contract §8 has its default, and a bad value stops the start by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from balancer.config import BalancerSettings, load_settings
from shared.errors import ConfigError

SECRET = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Begin without a `.env` and without variables of whoever runs the tests."""
    monkeypatch.chdir(tmp_path)
    for name in BalancerSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_defaults_are_the_contract_s() -> None:
    """The table of contract §8."""
    settings = load_settings({})
    found = {
        "port": settings.port, "host": settings.host, "workers_file": str(settings.workers_file),
        "store": settings.store, "discovery": settings.worker_discovery_interval,
        "discovery_timeout": settings.worker_discovery_timeout,
        "heartbeat": (settings.ws_heartbeat_interval, settings.ws_heartbeat_timeout),
        "dashboard": settings.dashboard_enabled, "log_level": settings.log_level,
        "max_logs": settings.max_logs, "task_timeout": settings.task_timeout,
        "attempts": settings.task_attempts, "queue_timeout": settings.queue_timeout,
        "windows": (settings.resume_window, settings.stall_window, settings.no_worker_wait),
        "queue": (settings.max_queue, settings.max_queue_bytes, settings.max_durable),
        "retention": settings.result_retention, "body": settings.request_body_limit,
        "webhook": (settings.webhook_timeout, settings.webhook_max_retries, settings.webhook_retry_delay),
    }  # fmt: skip
    assert found == {
        "port": 4000, "host": "127.0.0.1", "workers_file": "workers.json",
        "store": "sqlite:///cabrank.db", "discovery": 1000, "discovery_timeout": 3000,
        "heartbeat": (3000, 3000), "dashboard": True, "log_level": "info", "max_logs": 1000,
        "task_timeout": 300_000, "attempts": 3, "queue_timeout": None,
        "windows": (2000, 30_000, 10_000), "queue": (10_000, 256 * 1024**2, 1_000_000),
        "retention": 86_400, "body": 10 * 1024**2, "webhook": (5000, 3, 1000),
    }  # fmt: skip


BAD: list[tuple[str, str, str]] = [
    ("PORT", "x", "integer"),
    ("PORT", "65536", "65535"),
    ("PORT", "-1", "0"),
    ("REDIS_PORT", "0", "1"),
    ("WORKER_DISCOVERY_INTERVAL", "10", "50"),
    ("WORKER_DISCOVERY_TIMEOUT", "soon", "integer"),
    ("WS_HEARTBEAT_INTERVAL", "0", "50"),
    ("WS_HEARTBEAT_TIMEOUT", "1s", "integer"),
    ("DASHBOARD_ENABLED", "yes", "true, false, 1 or 0"),
    ("OPENAPI_ENABLED", "2", "true, false, 1 or 0"),
    ("LOG_LEVEL", "loud", "'debug', 'info', 'warn' or 'error'"),
    ("MAX_LOGS", "0", "1"),
    ("TASK_TIMEOUT", "0", "1"),
    ("TASK_ATTEMPTS", "0", "1"),
    ("QUEUE_TIMEOUT", "0", "1"),
    ("NO_WORKER_WAIT", "-1", "0"),
    ("RESUME_WINDOW", "1.5", "integer"),
    ("STALL_WINDOW", "-1", "0"),
    ("RESUME_GRACE", "x", "integer"),
    ("MAX_QUEUE", "0", "1"),
    ("MAX_QUEUE_BYTES", "many", "a size such as 10mb"),
    ("MAX_DURABLE", "0", "1"),
    ("RESULT_RETENTION", "0", "1"),
    ("REQUEST_BODY_LIMIT", "10xb", "a size such as 10mb"),
    ("WEBHOOK_TIMEOUT", "0", "1"),
    ("WEBHOOK_MAX_RETRIES", "101", "100"),
    ("WEBHOOK_RETRY_DELAY", "0", "1"),
    ("WEBHOOK_ALLOW_PRIVATE", "maybe", "true, false, 1 or 0"),
    ("WEBHOOK_ALLOW", "10.0.0.0/99", "10.0.0.0/99"),
    ("TERMINATION_GRACE", "-1", "0"),
]


@pytest.mark.parametrize(("variable", "value", "expected"), BAD)
def test_a_bad_value_names_variable_value_and_what_is_expected(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str
) -> None:
    """The start stops with a line that says what to mend."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as raised:
        load_settings({})
    assert raised.value.message.startswith(f"{variable}={value!r}: ")
    assert expected in raised.value.message


def test_a_body_that_no_link_carries_is_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit over what a link carries would accept tasks that cannot be sent."""
    monkeypatch.setenv("REQUEST_BODY_LIMIT", "65mb")
    with pytest.raises(ConfigError, match=r"REQUEST_BODY_LIMIT=68157440: .* 67108864"):
        load_settings({})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("WEBHOOK_SECRET", "s3cret-in-clear"),
        ("WEBHOOK_HEADERS", "{s3cret-in-clear"),
        ("WEBHOOK_HEADERS", '["s3cret-in-clear"]'),
        ("WEBHOOK_HEADERS", '{"Host": "s3cret-in-clear"}'),
    ],
)
def test_a_bad_secret_is_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """Values of secret variables never reach the terminal."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as raised:
        load_settings({})
    assert raised.value.message.startswith(f"{variable}=***: ")
    assert "s3cret" not in raised.value.message


def test_no_secret_is_in_the_repr() -> None:
    """Who prints the settings shows no key."""
    given = {"lb_auth_key": "s3cret1", "auth_key": "s3cret2", "webhook_secret": SECRET}
    shown = repr(load_settings(dict(given)))
    assert "s3cret" not in shown
    assert SECRET not in shown


def test_several_bad_values_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line each."""
    monkeypatch.setenv("PORT", "x")
    monkeypatch.setenv("MAX_LOGS", "y")
    with pytest.raises(ConfigError) as raised:
        load_settings({})
    names = {line.partition("=")[0] for line in raised.value.message.splitlines()}
    assert names == {"PORT", "MAX_LOGS"}


def test_options_win_over_environment_over_file_over_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Precedence, one layer after the other."""
    assert load_settings({}).port == 4000
    (tmp_path / ".env").write_text("PORT=1111\nMAX_LOGS=11\n")
    assert (load_settings({}).port, load_settings({}).max_logs) == (1111, 11)
    monkeypatch.setenv("PORT", "2222")
    assert (load_settings({}).port, load_settings({}).max_logs) == (2222, 11)
    assert load_settings({"port": 3333, "max_logs": None}).port == 3333
    assert load_settings({"port": None}).port == 2222


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """`PORT=` in a compose file means the default."""
    monkeypatch.setenv("PORT", "")
    monkeypatch.setenv("LB_AUTH_KEY", "")
    settings = load_settings({})
    assert settings.port == 4000
    assert settings.lb_auth_key


@pytest.mark.parametrize(
    ("variable", "value", "field", "expected"),
    [
        ("LOG_LEVEL", "WARNING", "log_level", "warn"),
        ("DASHBOARD_ENABLED", "0", "dashboard_enabled", False),
        ("REQUEST_BODY_LIMIT", "1.5mb", "request_body_limit", 1_572_864),
        ("MAX_QUEUE_BYTES", "64 KB", "max_queue_bytes", 65_536),
        ("WEBHOOK_HEADERS", '{"x-a": "1"}', "webhook_headers", (("x-a", "1"),)),
    ],
)
def test_forms_that_people_write_are_read(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, field: str, expected: object
) -> None:
    """Sizes, switches, levels and JSON headers."""
    monkeypatch.setenv(variable, value)
    assert getattr(load_settings({}), field) == expected


def test_without_a_key_only_loopback_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start is refused when others could reach a balancer without a key."""
    monkeypatch.setenv("HOST", "0.0.0.0")
    with pytest.raises(
        ConfigError, match=r"LB_AUTH_KEY: required because HOST=0\.0\.0\.0 is not loopback"
    ):
        load_settings({})
    monkeypatch.setenv("LB_AUTH_KEY", "k")
    settings = load_settings({})
    assert settings.lb_auth_key == "k"
    assert not settings.allow_private_webhooks
    assert not Path(".cabrank").exists()


def test_keys_are_generated_once_and_kept_to_their_owner() -> None:
    """On loopback keys are made, hex, 0600, and the same the next time."""
    first, second = load_settings({}), load_settings({})
    assert first.lb_auth_key == second.lb_auth_key
    assert first.lb_auth_key is not None
    assert len(bytes.fromhex(first.lb_auth_key)) == 32
    for file in Path(".cabrank").iterdir():
        assert file.stat().st_mode & 0o777 == 0o600
    assert first.allow_private_webhooks


@pytest.mark.parametrize(
    ("given", "store"),
    [
        ({}, "sqlite:///cabrank.db"),
        ({"redis_host": "r"}, "redis://r:6379"),
        ({"redis_host": "r", "redis_port": 1}, "redis://r:1"),
        ({"redis_host": "r", "store_url": "memory://"}, "memory://"),
    ],
)
def test_the_store_is_chosen(given: dict[str, object], store: str) -> None:
    """STORE_URL, else REDIS_HOST and REDIS_PORT, else a file."""
    assert load_settings(given).store == store
