"""The client in Node against a `MessageRouter`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.client.driving import CallError, NodeClient, node_client
from tests.harness.server import run_server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def client() -> Iterator[NodeClient]:
    with (
        run_server("tests.server.apps.vectors:app") as server,
        node_client(server.ws("/vectors/requests/0"), tokens=["alice"], hello=False, listen=["published"]) as client,
    ):
        yield client


def test_replies(client: NodeClient) -> None:
    assert client.call("request", "echo", {"text": "hi"}) == {"text": "hi", "times": 1}


def test_errors(client: NodeClient) -> None:
    for asked, data, code in [
        ("echo", {"times": 0}, "invalid_data"),
        ("nonsense", {}, "unknown_type"),
        ("refuse", {"code": "limit_exceeded"}, "limit_exceeded"),
        ("subscribe", {}, "invalid_data"),
    ]:
        with pytest.raises(CallError) as failure:
            client.call("request", asked, data)
        assert failure.value.code == code


def test_subscriptions(client: NodeClient) -> None:
    assert client.call("subscribe", "room:a") == {"topic": "room:a"}
    assert client.call("request", "publish", {"topic": "room:a", "text": "hi"}) == {"reached": 1}
    assert client.wait_for("published")["text"] == "hi"
    client.call("unsubscribe", "room:a")
    assert client.call("request", "publish", {"topic": "room:a", "text": "hi"}) == {"reached": 0}


def test_subscriptions_that_are_forbidden(client: NodeClient) -> None:
    with pytest.raises(CallError, match="forbidden"):
        client.call("subscribe", "room:secret")


def test_a_token_is_refreshed_in_place_and_one_of_another_user_is_not(client: NodeClient) -> None:
    assert client.call("request", "auth.refresh", {"token": "alice@2100-01-02T03:04:05"}) == {
        "expires_at": "2100-01-02T03:04:05Z"
    }
    client.start("request", "auth.refresh", {"token": "bob"})
    client.wait_for("resumed", code=4401)
    assert client.call("request", "echo", {"text": "hi"}) == {"text": "hi", "times": 1}
