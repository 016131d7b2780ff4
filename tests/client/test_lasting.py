"""The client in Node, a `MessageRouter` and real JWTs: staying connected, and requests of the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.client.driving import CallError, NodeClient, node_client
from tests.harness.footprint import leaves_nothing_behind
from tests.harness.http import post
from tests.harness.server import Server, run_server
from tests.server.apps.resolvers import JWTS

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = {"WS_CLOSE_TIMEOUT_SECONDS": "1", "WS_EXPIRY_NOTICE_SECONDS": "1"}


def token_of(user: str, *, lifetime: float = 600) -> str:
    return JWTS.encode(user, lifetime=lifetime)


@pytest.fixture(scope="module", params=["auto", "asgi"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with run_server("tests.server.apps.lasting:app", env={**SETTINGS, "WS_TRANSPORT": request.param}) as server:
        yield server
        assert "Traceback" not in server.log(), server.log()


@pytest.fixture(autouse=True)
def nothing_is_left_behind(server: Server) -> Iterator[None]:
    with leaves_nothing_behind(server):
        yield


@pytest.fixture
def client(server: Server) -> Iterator[NodeClient]:
    with node_client(server.ws(), tokens=[token_of("ann")]) as client:
        yield client


# Tokens


def test_it_outlives_its_token_on_the_same_connection(server: Server) -> None:
    with node_client(server.ws(), tokens=[token_of("ann", lifetime=2), token_of("ann")]) as client:
        before = client.call("request", "who")
        # An expiry is in whole seconds, rounded up: this one is less than three seconds ahead.
        question = {"type": "dawdle", "data": {"ms": 3200}}
        assert client.call("request", "ask.aside", question) == {"reply": question["data"]}
        assert client.call("request", "who") == before
        assert [given["renew"] for given in client.call("given")] == [False, True]
        assert [change["state"] for change in client.events("statechange")] == ["open"]


def test_the_token_of_another_user_makes_a_new_connection(server: Server) -> None:
    with node_client(server.ws(), tokens=[token_of("ann", lifetime=1), token_of("bob")]) as client:
        client.wait_for("resumed", code=4401)
        assert client.call("request", "who")["user"] == "bob"


# Requests of the server


@pytest.mark.parametrize("ask", ["ask", "ask.aside"])
def test_a_handler_sends_a_request_to_its_own_client(client: NodeClient, ask: str) -> None:
    assert client.call("request", ask, {"type": "sum", "data": {"a": 2, "b": 3}}) == {"reply": {"sum": 5}}
    for question, code in [("deny", "forbidden"), ("nobody.knows", "unknown_type")]:
        with pytest.raises(CallError) as failure:
            client.call("request", ask, {"type": question})
        assert failure.value.code == code


@pytest.mark.parametrize("ask", ["ask", "ask.aside"])
def test_a_late_reply_is_dropped(client: NodeClient, ask: str) -> None:
    with pytest.raises(CallError, match=r"no_reply: no reply to 'dawdle' within 0\.05 s"):
        client.call("request", ask, {"type": "dawdle", "data": {"ms": 200}, "timeout": 0.05})
    # The reply to this one is behind it.
    assert client.call("request", ask, {"type": "dawdle", "data": {"ms": 300}}) == {"reply": {"ms": 300}}
    assert client.events("failure") == []


def test_several_handlers_may_wait_at_once(client: NodeClient) -> None:
    questions: list[dict[str, Any]] = [{"type": "dawdle", "data": {"ms": ms}} for ms in (90, 60, 30)]
    calls = [client.start("request", "ask.aside", question) for question in questions]
    assert [client.result(call) for call in calls] == [{"reply": question["data"]} for question in questions]


def test_a_route_sends_a_request_to_a_client_of_a_router(server: Server, client: NodeClient) -> None:
    connection_id = client.call("request", "who")["connection_id"]

    def ask(question: str, **data: object) -> object:
        return post(server, "/ask", {"connection_id": connection_id, "envelope": {"type": question, "data": data}})

    assert ask("sum", a=1, b=2) == {"sum": 3}
    assert ask("deny") == "RequestFailedError: the client answered with an error: 'forbidden': 'not for you'"
