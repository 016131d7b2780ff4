"""The settings: defaults and bounds; arguments, environment and `.env`; as a mixin of an app's own."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from quart_wshub.settings import WebSocketSettings

if TYPE_CHECKING:
    from pathlib import Path

DEFAULTS = {
    "WS_HEARTBEAT_SECONDS": 30,
    "WS_HEARTBEAT_TIMEOUT_SECONDS": 60,
    "WS_MAX_CONNECTIONS_PER_USER": 5,
    "WS_MAX_MESSAGE_BYTES": 65536,
    "WS_MAX_CONNECTIONS": None,
    "WS_MAX_PENDING_HANDSHAKES": 1000,
    "WS_MAX_TOPICS_PER_CONNECTION": 128,
    "WS_MAX_TOPIC_LENGTH": 256,
    "WS_RATE_LIMIT_PER_SECOND": None,
    "WS_RATE_LIMIT_BURST": None,
    "WS_MAX_BAD_MESSAGES": 20,
    "WS_MAX_CONCURRENT_MESSAGES": 16,
    "WS_SEND_QUEUE_MESSAGES": 1024,
    "WS_SEND_QUEUE_BYTES": 1024 * 1024,
    "WS_AUTH_TIMEOUT_SECONDS": 10,
    "WS_CLOSE_TIMEOUT_SECONDS": 5,
    "WS_EXPIRY_NOTICE_SECONDS": 30,
    "WS_ALLOWED_ORIGINS": None,
    "WS_ALLOW_QUERY_TOKEN": True,
    "WS_REJECT_WITH_HTTP": False,
    "WS_HELLO": True,
    "WS_TRANSPORT": "auto",
    "WS_COMPRESSION": False,
}

SECONDS = [
    "WS_HEARTBEAT_SECONDS",
    "WS_HEARTBEAT_TIMEOUT_SECONDS",
    "WS_AUTH_TIMEOUT_SECONDS",
    "WS_CLOSE_TIMEOUT_SECONDS",
    "WS_EXPIRY_NOTICE_SECONDS",
    "WS_RATE_LIMIT_PER_SECOND",
]
COUNTS = [
    "WS_MAX_CONNECTIONS_PER_USER",
    "WS_MAX_MESSAGE_BYTES",
    "WS_MAX_CONNECTIONS",
    "WS_MAX_PENDING_HANDSHAKES",
    "WS_MAX_TOPICS_PER_CONNECTION",
    "WS_MAX_TOPIC_LENGTH",
    "WS_RATE_LIMIT_BURST",
    "WS_MAX_BAD_MESSAGES",
    "WS_MAX_CONCURRENT_MESSAGES",
    "WS_SEND_QUEUE_MESSAGES",
    "WS_SEND_QUEUE_BYTES",
]


@pytest.fixture(autouse=True)
def _no_outside_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in DEFAULTS:
        monkeypatch.delenv(name, raising=False)


def test_defaults() -> None:
    assert WebSocketSettings().model_dump() == DEFAULTS


def settings_with(name: str, value: Any) -> WebSocketSettings:
    return WebSocketSettings(**{name: value})


def refusal_of(name: str, value: object) -> str:
    with pytest.raises(ValidationError) as info:
        settings_with(name, value)
    return str(info.value)


BAD_SECONDS = {
    0: "greater than 0",
    -1: "greater than 0",
    math.nan: "finite number",
    math.inf: "finite number",
    "soon": "valid number",
}
BAD_COUNTS = {0: "greater than or equal to 1", -5: "greater than or equal to 1", 1.5: "valid integer"}


@pytest.mark.parametrize(("names", "bad"), [(SECONDS, BAD_SECONDS), (COUNTS, BAD_COUNTS)], ids=["seconds", "counts"])
def test_a_bad_number_names_variable_value_and_bound(names: list[str], bad: dict[object, str]) -> None:
    for name, (value, bound) in itertools.product(names, bad.items()):
        text = refusal_of(name, value)

        assert name in text
        assert bound in text
        assert f"input_value={value!r}" in text


def test_a_count_may_be_one() -> None:
    assert {getattr(settings_with(name, 1), name) for name in COUNTS} == {1}


def test_the_heartbeat_timeout_must_be_more_than_the_heartbeat() -> None:
    for beat, timeout in [(30, 30), (30, 29.9), (90, 60)]:
        with pytest.raises(ValidationError) as info:
            WebSocketSettings(WS_HEARTBEAT_SECONDS=beat, WS_HEARTBEAT_TIMEOUT_SECONDS=timeout)

        expected = f"WS_HEARTBEAT_TIMEOUT_SECONDS={timeout:g} must be greater than WS_HEARTBEAT_SECONDS={beat:g}"
        assert expected in str(info.value)


def test_the_default_timeout_must_be_more_than_the_heartbeat_too() -> None:
    with pytest.raises(ValidationError, match="WS_HEARTBEAT_TIMEOUT_SECONDS=60 must be greater"):
        WebSocketSettings(WS_HEARTBEAT_SECONDS=60)


def test_the_error_shows_no_other_setting() -> None:
    class Settings(WebSocketSettings):
        DATABASE_URL: str

    with pytest.raises(ValidationError) as info:
        Settings(WS_HEARTBEAT_SECONDS=90, DATABASE_URL="postgres://app:hunter2@db")

    assert "hunter2" not in str(info.value)


def test_the_heartbeat_timeout_may_be_just_more_than_the_heartbeat() -> None:
    settings = WebSocketSettings(WS_HEARTBEAT_SECONDS=30, WS_HEARTBEAT_TIMEOUT_SECONDS=30.001)

    assert settings.WS_HEARTBEAT_TIMEOUT_SECONDS == 30.001


def test_unknown_transport() -> None:
    text = refusal_of("WS_TRANSPORT", "quic")

    assert "WS_TRANSPORT" in text
    assert "'auto' or 'asgi'" in text


ORIGINS: list[tuple[Any, tuple[str, ...] | None]] = [
    ("*", None),
    (" * ", None),
    (("*",), None),
    ('["*"]', None),
    ("https://a.example", ("https://a.example",)),
    ("HTTPS://A.Example:8443", ("https://a.example:8443",)),
    ("https://a.example, http://localhost:3000", ("https://a.example", "http://localhost:3000")),
    ('["https://a.example", "https://b.example"]', ("https://a.example", "https://b.example")),
    (["https://a.example"], ("https://a.example",)),
    ("http://[::1]:8000", ("http://[::1]:8000",)),
    ("http://[::1]", ("http://[::1]",)),
    ('["http://[::1]"]', ("http://[::1]",)),
    ("null", ("null",)),
    ("capacitor://localhost", ("capacitor://localhost",)),
]


BAD_ORIGINS = (
    "",
    "a.example",
    "https://a.example/",
    "https://a.example/path",
    "https://a.example,",
    "https://a.example,*",
    "https://",
    "[https://a.example]",
    "[1]",
)


class TestOrigins:
    def test_argument(self) -> None:
        for value, expected in ORIGINS:
            assert expected == WebSocketSettings(WS_ALLOWED_ORIGINS=value).WS_ALLOWED_ORIGINS, value

    def test_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for value, expected in ORIGINS:
            if isinstance(value, str):
                monkeypatch.setenv("WS_ALLOWED_ORIGINS", value)
                assert expected == WebSocketSettings().WS_ALLOWED_ORIGINS, value

    def test_bad(self) -> None:
        for value in BAD_ORIGINS:
            assert "WS_ALLOWED_ORIGINS" in refusal_of("WS_ALLOWED_ORIGINS", value), value

    def test_message_says_what_an_origin_is(self) -> None:
        text = refusal_of("WS_ALLOWED_ORIGINS", "https://a.example/")

        assert "'https://a.example/' is not an origin: use scheme://host[:port] without a path" in text


class TestSources:
    def test_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WS_HEARTBEAT_SECONDS", "2.5")
        monkeypatch.setenv("ws_max_connections", "10")
        monkeypatch.setenv("WS_HELLO", "false")
        settings = WebSocketSettings()

        assert (settings.WS_HEARTBEAT_SECONDS, settings.WS_MAX_CONNECTIONS) == (2.5, 10)
        assert settings.WS_HELLO is False

    def test_bad_environment_names_the_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WS_MAX_MESSAGE_BYTES", "64k")

        with pytest.raises(ValidationError, match=r"WS_MAX_MESSAGE_BYTES\n.*input_value='64k'"):
            WebSocketSettings()

    def test_env_file_and_what_overrides_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / ".env").write_text("WS_MAX_CONNECTIONS=7\nWS_SEND_QUEUE_MESSAGES=7\nOTHER=x\n")
        monkeypatch.setenv("WS_SEND_QUEUE_MESSAGES", "8")
        settings = WebSocketSettings()

        assert (settings.WS_MAX_CONNECTIONS, settings.WS_SEND_QUEUE_MESSAGES) == (7, 8)

    def test_mixed_into_an_apps_own(self, tmp_path: Path) -> None:
        class Settings(WebSocketSettings, BaseSettings):
            DATABASE_URL: str = "sqlite://"

        (tmp_path / ".env").write_text("DATABASE_URL=postgres://x\nWS_MAX_CONNECTIONS=7\nOTHER=x\n")
        settings = Settings(WS_HELLO=False)

        assert (settings.DATABASE_URL, settings.WS_MAX_CONNECTIONS) == ("postgres://x", 7)
        assert (settings.WS_HELLO, settings.WS_HEARTBEAT_SECONDS) == (False, 30)

    def test_mixed_into_one_with_its_own_configuration(self, tmp_path: Path) -> None:
        class Settings(WebSocketSettings, BaseSettings):
            model_config = SettingsConfigDict(env_file="app.env", env_prefix="APP_")

        (tmp_path / ".env").write_text("APP_WS_MAX_CONNECTIONS=7\n")
        (tmp_path / "app.env").write_text("APP_WS_MAX_CONNECTIONS=8\n")

        assert Settings().WS_MAX_CONNECTIONS == 8
        assert Settings.model_config["extra"] == "forbid"

    def test_a_subclass_may_allow_extra_arguments(self) -> None:
        class Settings(WebSocketSettings, BaseSettings):
            model_config = SettingsConfigDict(extra="allow")

        arguments: dict[str, Any] = {"OTHER": 1}
        assert Settings(**arguments).model_extra == {"OTHER": 1}
