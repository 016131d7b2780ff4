"""The client in Node against a real server."""

from __future__ import annotations

from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import pytest

from quart_wshub import CloseCode
from tests.client.driving import CallError, NodeClient, node_client
from tests.client.serving import serve
from tests.harness.footprint import leaves_nothing_behind
from tests.harness.http import get
from tests.harness.polling import poll
from tests.harness.ports import reusable_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.server import Server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve(reusable_port(), WS_HEARTBEAT_SECONDS="0.2", WS_HEARTBEAT_TIMEOUT_SECONDS="0.8") as server:
        yield server


@pytest.fixture(autouse=True)
def nothing_is_left_behind(server: Server) -> Iterator[None]:
    with leaves_nothing_behind(server):
        yield


@pytest.fixture(params=["global", "ws"])
def socket_options(request: pytest.FixtureRequest, npm_modules: Path) -> dict[str, Any]:
    """Node's own WebSocket, and the one that Node 20 needs."""
    return {} if request.param == "global" else {"wsModule": str(npm_modules / "ws" / "wrapper.mjs")}


@pytest.fixture
def client(server: Server, socket_options: dict[str, Any]) -> Iterator[NodeClient]:
    with node_client(server.ws(), **socket_options) as client:
        yield client


def test_requests_are_replied_to(client: NodeClient) -> None:
    assert client.call("request", "echo", {"text": "grüß dich 🎈"}) == {"text": "grüß dich 🎈"}
    with pytest.raises(CallError, match="unknown_type: nonsense"):
        client.call("request", "nonsense")
    with pytest.raises(CallError, match="timeout"):
        client.call("request", "be.silent", {}, {"timeout": 100})


def test_publications_reach_the_subscribers_of_their_topic(client: NodeClient) -> None:
    assert client.call("subscribe", "a") == {"topic": "a"}
    client.call("request", "publish", {"topic": "b", "n": 1})
    client.call("request", "publish", {"topic": "a", "n": 2})
    assert client.wait_for("heard")["data"] == {"topic": "a", "n": 2}

    client.call("unsubscribe", "a")
    client.call("request", "publish", {"topic": "a", "n": 3})
    assert len(client.events("heard")) == 1


def test_a_topic_that_is_forbidden_is_refused(client: NodeClient) -> None:
    with pytest.raises(CallError, match="forbidden"):
        client.call("subscribe", "secret")
    assert client.call("topics") == []


def test_requests_of_the_server_are_answered(server: Server) -> None:
    def error(code: str, message: str) -> tuple[str, dict[str, Any]]:
        return "error", {"code": code, "message": message, "details": []}

    with node_client(server.ws()) as client:
        for asked, (answer, data) in {
            "sum": ("sum.reply", {"sum": 5}),
            "deny": error("forbidden", "not for you"),
            "nothing": error("unknown_type", "this client does not answer nothing"),
        }.items():
            request = {"type": asked, "data": {"a": 2, "b": 3}}
            expected = {"type": answer, "data": data, "request_id": "asked"}
            assert client.call("request", "be.asked", request) == expected


def test_it_answers_pings_for_longer_than_the_timeout(server: Server, client: NodeClient) -> None:
    client.wait_for("statechange", state="open")
    with pytest.raises(CallError, match="timeout"):
        client.call("request", "be.silent", {}, {"timeout": 1200})

    assert client.call("request", "echo", {"n": 1}) == {"n": 1}
    assert [change["state"] for change in client.events("statechange")] == ["open"]


@pytest.mark.parametrize("code", [code for code in CloseCode if code is not CloseCode.UNAUTHORIZED])
def test_the_close_code_decides_whether_it_reconnects(server: Server, code: CloseCode) -> None:
    with node_client(server.ws(), backoff={"max": 50, "restart": 50}) as client:
        client.wait_for("statechange", state="open")
        client.start("send", "be.closed", {"code": int(code)})
        change = client.wait_for("statechange", previous="open")
        assert (change["code"], change["reason"], change["message"]) == (code, code.name.lower(), "as you like")
        if code.reconnect:
            client.wait_for("resumed", code=int(code))
            assert client.call("request", "echo", {"n": 1}) == {"n": 1}
        else:
            assert change["state"] == "closed"
            assert client.call("send", "echo") is False
            assert client.end() == 0


def test_a_refused_token_is_replaced_once(server: Server, socket_options: dict[str, Any]) -> None:
    with node_client(server.ws(), tokens=["bad", "ann"], **socket_options) as client:
        client.wait_for("statechange", state="open")
        assert client.call("given") == [{"renew": False, "token": "bad"}, {"renew": True, "token": "ann"}]

    with node_client(server.ws(), tokens=["bad"], **socket_options) as client:
        change = client.wait_for("statechange", state="closed")
        assert (change["reason"], change["code"]) == ("unauthorized", 4401)
        assert len(client.call("given")) == 2
        assert client.end() == 0


def test_an_expired_token_is_replaced(server: Server) -> None:
    with node_client(server.ws(), tokens=["brief", "ann"]) as client:
        client.wait_for("statechange", state="open")
        client.wait_for("resumed", code=4401)
        assert client.call("given")[1] == {"renew": True, "token": "ann"}


def test_the_token_is_refreshed_over_the_same_connection(server: Server, client: NodeClient) -> None:
    before = len(get(server, "/refreshed").json())
    client.call("request", "be.told", {"type": "auth.expiring"})
    poll(lambda: get(server, "/refreshed").json()[before:], until=lambda tokens: tokens == ["ann"])

    assert [given["renew"] for given in client.call("given")] == [False, True]
    assert [change["state"] for change in client.events("statechange")] == ["open"]


def test_without_a_login_it_closes_without_connecting(server: Server) -> None:
    with node_client(server.ws(), tokens=[None]) as client:
        assert client.wait_for("statechange", state="closed")["reason"] == "logged_out"
        assert client.end() == 0


def test_close_leaves_nothing_running(server: Server, client: NodeClient) -> None:
    client.wait_for("statechange", state="open")
    client.call("subscribe", "a")
    client.call("close", 4000, "bye")
    assert client.end() == 0


def test_it_reconnects_after_a_restart_of_the_server() -> None:
    port = reusable_port()
    url = f"ws://127.0.0.1:{port}/ws"
    backoff = {"max": 200, "restart": 200}
    with node_client(url, backoff=backoff, requestTimeout=20_000) as client:
        with serve(port):
            client.wait_for("statechange", state="open")
            client.call("subscribe", "a")
        assert client.wait_for("statechange", previous="open")["code"] == 1012
        waiting = client.start("request", "publish", {"topic": "a", "n": 1})
        client.wait_for("statechange", state="waiting", code=1006)

        with serve(port):
            client.wait_for("resumed", code=1012)
            client.result(waiting)
            assert client.wait_for("heard")["data"] == {"topic": "a", "n": 1}
            client.call("close")


def test_a_head_request_for_the_client_has_its_size_and_no_content(server: Server) -> None:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("HEAD", "/ws/client.js")
    response = connection.getresponse()
    assert (response.status, response.read()) == (200, b"")
    size = int(response.headers["Content-Length"])
    connection.request("GET", "/ws/client.js")
    assert len(connection.getresponse().read()) == size
    connection.close()
