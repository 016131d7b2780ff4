"""`auth.refresh`: a new token for the same user, and what happens with any other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import trio

from quart_wshub import Identity, MessageRouter, WebSocketConnection, WebSocketDisconnect, WebSocketHub, WSEnvelope
from quart_wshub.testing import WebSocketClient, connect
from tests.unit.memory import assert_open, make_app

if TYPE_CHECKING:
    from trio.testing import MockClock

SECRET = "s3cret-tökén"

LATER = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)


async def resolver(token: str) -> str | Identity | None:
    """`ann`, `bob`, or what a token's first word asks for."""
    await trio.lowlevel.checkpoint()
    word = token.split()[0]
    if word == "fails":
        msg = f"no database for {token}"
        raise RuntimeError(msg)
    if word == "hangs":
        await trio.sleep_forever()
    answers: dict[str, str | Identity | None] = {
        "ann": "ann",
        "bob": "bob",
        "later": Identity("ann", expires_at=LATER, claims={"role": "editor"}),
        "expired": Identity("ann", expires_at=datetime.now(UTC) - timedelta(seconds=1)),
    }
    return answers.get(word)


@pytest.fixture
def messages() -> MessageRouter:
    messages = MessageRouter()

    @messages.on("role")
    async def role(message: WSEnvelope, connection: WebSocketConnection) -> dict[str, Any]:
        return {"role": connection.claims.get("role"), "expires_at": connection.identity.expires_at}

    return messages


async def ask(client: WebSocketClient, envelope_type: str, **data: object) -> Any:
    await client.send_json({"type": envelope_type, "data": data, "request_id": "r"})
    return await client.receive_json()


def open_client(messages: MessageRouter, hub: WebSocketHub) -> Any:
    return connect(make_app(messages, hub, resolver=resolver, WS_HELLO=False), token="ann")


async def test_a_new_token_replaces_the_old_one(messages: MessageRouter, hub: WebSocketHub) -> None:
    async with open_client(messages, hub) as client:
        assert await ask(client, "auth.refresh", token=f"later {SECRET}") == {
            "type": "auth.refresh.reply",
            "data": {"expires_at": LATER.isoformat().replace("+00:00", "Z")},
            "request_id": "r",
        }
        assert (await ask(client, "role"))["data"]["role"] == "editor"
        assert (await ask(client, "auth.refresh", token="ann"))["data"] == {"expires_at": None}


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("bad", "token invalid or expired"),
        ("expired", "token invalid or expired"),
        ("bob", "token of another user"),
    ],
)
async def test_any_other_token_closes_with_4401(
    messages: MessageRouter, hub: WebSocketHub, token: str, reason: str
) -> None:
    async with open_client(messages, hub) as client:
        await client.send_json({"type": "auth.refresh", "data": {"token": token}, "request_id": "r"})
        gone = await client.closed()
        assert hub.online_users() == frozenset()
    assert (gone.code, gone.reason) == (4401, reason)


@pytest.mark.parametrize("token", [f"fails {SECRET}", f"hangs {SECRET}"])
async def test_a_resolver_that_fails_does_not_close_the_connection(
    messages: MessageRouter,
    hub: WebSocketHub,
    token: str,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_client(messages, hub) as client:
        answer = await ask(client, "auth.refresh", token=token)
        assert answer["data"] == {
            "code": "internal",
            "message": "the server failed to handle this message",
            "details": [],
        }
        await assert_open(client)
    [record] = caplog.records
    assert record.getMessage().startswith("auth.refresh failed: connection=")
    assert SECRET not in caplog.text


@pytest.mark.parametrize("data", [{}, {"token": ""}, {"token": [SECRET]}, {"token": {SECRET: SECRET}}])
async def test_an_invalid_token_field_is_invalid_data_and_not_echoed(
    messages: MessageRouter, hub: WebSocketHub, data: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    async with open_client(messages, hub) as client:
        answer = await ask(client, "auth.refresh", **data)
    assert answer["data"]["code"] == "invalid_data"
    assert [detail["loc"] for detail in answer["data"]["details"]] == [["token"]]
    assert SECRET not in str(answer)
    assert caplog.records == []


async def test_a_client_that_refreshes_after_auth_expiring_stays_connected(
    messages: MessageRouter, hub: WebSocketHub, autojump_clock: MockClock
) -> None:
    began = datetime.now(UTC)

    async def resolver(token: str) -> Identity:
        await trio.lowlevel.checkpoint()
        return Identity("ann", expires_at=began + timedelta(seconds=int(token)))

    app = make_app(messages, hub, resolver=resolver, WS_HELLO=False, WS_HEARTBEAT_TIMEOUT_SECONDS=1e6)
    async with connect(app, token="100") as client:
        for token in (200, 300):
            told = await client.expect("auth.expiring")
            assert told.data == {"expires_at": (began + timedelta(seconds=token - 100)).isoformat()}
            await client.send_json({"type": "auth.refresh", "data": {"token": str(token)}, "request_id": "r"})
            await client.expect("auth.refresh.reply")
        start = trio.current_time()
        gone = await client.closed()
    assert (gone.code, gone.reason) == (4401, "token expired")
    assert trio.current_time() - start == pytest.approx(130, abs=1)  # the notice comes 30 seconds before


@pytest.mark.parametrize("answer", ["later", "bob", "expired"])
async def test_a_revocation_overtakes_a_refresh(
    messages: MessageRouter, hub: WebSocketHub, caplog: pytest.LogCaptureFixture, answer: str
) -> None:
    asked = trio.Event()
    gate = trio.Event()

    async def slow_resolver(token: str) -> str | Identity | None:
        if token == "slow":
            asked.set()
            await gate.wait()
            return await resolver(answer)
        return await resolver(token)

    async with connect(make_app(messages, hub, resolver=slow_resolver, WS_HELLO=False), token="ann") as client:
        await client.send_json({"type": "auth.refresh", "data": {"token": "slow"}, "request_id": "r"})
        await asked.wait()
        assert await hub.revoke("ann") == 1
        gate.set()
        with pytest.raises(WebSocketDisconnect) as gone:
            await client.receive()
    assert (gone.value.code, gone.value.reason) == (4401, "token revoked")
    assert caplog.records == []
