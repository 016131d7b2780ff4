"""`<path>/asyncapi.json`: where it is, what it is, and that a cache can ask whether it is still that."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import create_model
from quart_trio import QuartTrio

from quart_wshub import ConfigurationError, MessageRouter, WebSocketHub, WSEnvelope, make_websocket_blueprint
from quart_wshub.description.asyncapi import asyncapi
from tests.describe.app import messages
from tests.unit.memory import forever, make_settings, token_is_the_user


def make_blueprint(hub: WebSocketHub, handler: Any = messages, **arguments: Any) -> Any:
    chosen: dict[str, Any] = {"bearer_resolver": token_is_the_user, "settings": make_settings(), **arguments}
    return make_websocket_blueprint(handler, hub=hub, **chosen)


def make_app(*blueprints: Any, url_prefix: str | None = None) -> QuartTrio:
    app = QuartTrio(__name__)
    for blueprint in blueprints:
        app.register_blueprint(blueprint, url_prefix=url_prefix)
    return app


async def test_it_is_served_where_it_is_switched_on(hub: WebSocketHub) -> None:
    client = make_app(make_blueprint(hub, serve_asyncapi=True)).test_client()

    response = await client.get("/ws/asyncapi.json")

    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/vnd.aai.asyncapi+json;version=3.0.0"
    assert json.loads(await response.get_data()) == asyncapi(messages)


async def test_it_is_not_served_unless_it_is_switched_on(hub: WebSocketHub) -> None:
    client = make_app(make_blueprint(hub)).test_client()

    assert (await client.get("/ws/asyncapi.json")).status_code == 404


async def test_a_copy_is_checked_and_need_not_be_sent_again(hub: WebSocketHub) -> None:
    client = make_app(make_blueprint(hub, serve_asyncapi=True)).test_client()
    first = await client.get("/ws/asyncapi.json")

    again = await client.get("/ws/asyncapi.json", headers={"If-None-Match": first.headers["ETag"]})
    other = await client.get("/ws/asyncapi.json", headers={"If-None-Match": '"other"'})

    assert first.headers["Cache-Control"] == "no-cache"
    assert (again.status_code, await again.get_data()) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    assert (other.status_code, await other.get_data()) == (200, await first.get_data())


@pytest.mark.parametrize(
    ("path", "prefix", "url", "address"),
    [
        ("/ws", "/api", "/api/ws/asyncapi.json", "/api/ws"),
        ("/live/", "/api/", "/api/live/asyncapi.json", "/api/live"),
        ("/", None, "/asyncapi.json", "/"),
        ("/ws/<room>", "/v<int:version>", "/v1/ws/lobby/asyncapi.json", "/v{version}/ws/{room}"),
    ],
)
async def test_the_address_is_the_routes(
    hub: WebSocketHub, path: str, prefix: str | None, url: str, address: str
) -> None:
    client = make_app(make_blueprint(hub, path=path, serve_asyncapi=True), url_prefix=prefix).test_client()

    document = json.loads(await (await client.get(url)).get_data())

    assert document["channels"]["ws"]["address"] == address


async def test_options_and_settings_reach_the_document(hub: WebSocketHub) -> None:
    options = {"title": "Chat", "version": "2", "host": "a.example"}
    settings = make_settings(WS_ALLOW_QUERY_TOKEN=False)
    client = make_app(make_blueprint(hub, serve_asyncapi=options, settings=settings)).test_client()

    document = json.loads(await (await client.get("/ws/asyncapi.json")).get_data())

    assert document == asyncapi(messages, title="Chat", version="2", host="a.example", settings=settings)


async def test_what_is_registered_after_the_blueprint_is_described(hub: WebSocketHub) -> None:
    router = MessageRouter()
    client = make_app(make_blueprint(hub, router, serve_asyncapi=True)).test_client()

    @router.on("late")
    async def late(message: WSEnvelope) -> None: ...

    document = json.loads(await (await client.get("/ws/asyncapi.json")).get_data())
    assert "client.late" in document["operations"]


async def test_a_plain_handler_cannot_be_described(hub: WebSocketHub) -> None:
    with pytest.raises(ConfigurationError, match="serve_asyncapi needs a MessageRouter in the handler's place"):
        make_blueprint(hub, forever, serve_asyncapi=True)


async def test_an_unknown_option_is_refused(hub: WebSocketHub) -> None:
    with pytest.raises(ConfigurationError, match=r"unknown options \['titel'\]: use \['description', 'host'"):
        make_blueprint(hub, serve_asyncapi={"titel": "Chat"})


async def test_a_model_that_cannot_be_described_fails_at_the_start(hub: WebSocketHub) -> None:
    router = MessageRouter()
    router.sends("bad", create_model("Bad", it=(type(hub), ...), __config__={"arbitrary_types_allowed": True}))
    app = make_app(make_blueprint(hub, router, serve_asyncapi=True))

    with pytest.raises(ConfigurationError, match="Bad has no JSON schema"):
        await app.startup()
