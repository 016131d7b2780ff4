"""The decisions of the handshake: origin, subprotocol, and what becomes of a token."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio

from quart_wshub.auth.credentials import Credentials
from quart_wshub.auth.handshake import Refusal, authenticate, choose_subprotocol, origin_allowed
from quart_wshub.auth.identity import Identity
from quart_wshub.protocol.close_codes import CloseCode
from tests.unit.memory import make_settings

TOKEN = "eyJhbGciOiJIUzI1NiJ9.c2VjcmV0.c2lnbmF0dXJl"
APP = "https://app.example.com"


@pytest.mark.parametrize(
    ("allowed", "origin", "expected"),
    [
        (None, "https://evil.example", True),
        (None, None, True),
        ([APP], APP, True),
        ([APP], "HTTPS://App.Example.COM", True),
        (["HTTPS://App.Example.COM"], APP, True),
        ([APP], None, True),
        ([APP], "", False),
        ([APP], "null", False),
        (["null"], "null", True),
        ([APP], "http://app.example.com", False),
        ([APP], f"{APP}:8443", False),
        ([APP], f"{APP}.evil.example", False),
        ([APP], "https://evil.example", False),
        ([APP, "http://[::1]:8000"], "http://[::1]:8000", True),
        ([], APP, False),
    ],
)
def test_origin_allowed(allowed: list[str] | None, origin: str | None, expected: bool) -> None:
    assert origin_allowed(origin, make_settings(WS_ALLOWED_ORIGINS=allowed)) is expected


@pytest.mark.parametrize(
    ("bearer_offered", "offered", "supported", "expected"),
    [
        (False, (), (), None),
        (True, (), (), "bearer"),
        (False, ("v1",), (), None),
        (False, ("v1",), ("v1",), "v1"),
        (True, ("v1",), ("v1",), "v1"),
        (True, ("v1",), ("v2",), "bearer"),
        (False, ("v2", "v1"), ("v1", "v2"), "v2"),
        (False, (TOKEN,), (), None),
    ],
)
def test_choose_subprotocol(
    bearer_offered: bool, offered: tuple[str, ...], supported: tuple[str, ...], expected: str | None
) -> None:
    assert choose_subprotocol(Credentials(TOKEN, bearer_offered, offered), supported) == expected


def offering(token: str | None) -> Credentials:
    return Credentials(token, False, ())


async def identify(token: str) -> str | None:
    await trio.lowlevel.checkpoint()
    return "ann" if token == TOKEN else None


@pytest.mark.parametrize(
    ("token", "verdict"),
    [
        (TOKEN, Identity("ann")),
        (None, Refusal(CloseCode.UNAUTHORIZED, "token missing", 401)),
        ("", Refusal(CloseCode.UNAUTHORIZED, "token missing", 401)),
        ("bad", Refusal(CloseCode.UNAUTHORIZED, "token invalid or expired", 401)),
    ],
    ids=["good", "missing", "empty", "bad"],
)
async def test_verdicts(token: str | None, verdict: Identity | Refusal, caplog: pytest.LogCaptureFixture) -> None:
    assert await authenticate(offering(token), identify, make_settings()) == verdict
    assert not caplog.records


async def test_the_resolver_is_not_asked_without_a_token() -> None:
    def resolver(token: str) -> str:
        pytest.fail("asked")

    assert isinstance(await authenticate(offering(""), resolver, make_settings()), Refusal)


SERVER_FAULT = Refusal(CloseCode.INTERNAL_ERROR, "internal error", 500)


class TestFailingResolver:
    @pytest.mark.parametrize("error", [RuntimeError, TimeoutError, trio.TooSlowError, OSError])
    async def test_is_1011_and_logged_once_with_its_traceback(
        self, error: type[Exception], caplog: pytest.LogCaptureFixture
    ) -> None:
        async def resolver(token: str) -> str:
            raise error("no database")

        assert await authenticate(offering(TOKEN), resolver, make_settings()) == SERVER_FAULT
        (record,) = caplog.records
        assert record.levelno == logging.ERROR
        assert record.getMessage().startswith("handshake failed: bearer resolver failed\nTraceback")
        assert "no database" in record.getMessage()

    @pytest.mark.parametrize(
        "token",
        [
            TOKEN,
            'it\'s "quoted"',
            "back\\slash",
            "line\nbreak\ttab",
            "ümläut-→",
            "\x00\x7f\x85",
        ],
        ids=["jwt", "quotes", "backslash", "control", "unicode", "latin"],
    )
    @pytest.mark.parametrize("show", [str, repr, ascii, list], ids=["str", "repr", "ascii", "container"])
    async def test_shows_no_token(self, token: str, show: Any, caplog: pytest.LogCaptureFixture) -> None:
        async def resolver(given: str) -> str:
            try:
                raise KeyError(given)
            except KeyError as error:
                shown = show([given]) if show is list else show(given)
                msg = f"no such token: {shown}"
                raise RuntimeError(msg) from error

        assert await authenticate(offering(token), resolver, make_settings()) == SERVER_FAULT
        (record,) = caplog.records
        assert record.exc_info is None
        text = caplog.text
        assert "no such token: " in text
        assert "***" in text
        for shown in (token, repr(token)[1:-1], ascii(token)[1:-1]):
            assert shown not in text

    async def test_that_takes_too_long(
        self, caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
    ) -> None:
        async def resolver(token: str) -> str:
            await trio.sleep_forever()

        settings = make_settings(WS_AUTH_TIMEOUT_SECONDS=3)

        assert await authenticate(offering(TOKEN), resolver, settings) == SERVER_FAULT
        assert trio.current_time() == 3
        (record,) = caplog.records
        assert record.getMessage() == "handshake failed: bearer resolver took longer than 3 s"

    async def test_that_returns_no_identity(self, caplog: pytest.LogCaptureFixture) -> None:
        resolver: Any = lambda token: [token]  # noqa: E731 - of no type that a resolver may have

        assert await authenticate(offering(TOKEN), resolver, make_settings()) == SERVER_FAULT
        assert "bearer resolver returned list" in caplog.text
        assert TOKEN not in caplog.text
