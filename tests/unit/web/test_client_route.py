"""The JavaScript client as a browser fetches it."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import pytest
from quart_trio import QuartTrio

from quart_wshub import WebSocketHub, make_websocket_blueprint
from tests.unit.memory import forever, make_settings, token_is_the_user


def make_quart(hub: WebSocketHub, *, url_prefix: str | None = None, **arguments: Any) -> QuartTrio:
    app = QuartTrio(__name__)
    blueprint = make_websocket_blueprint(
        forever, hub=hub, bearer_resolver=token_is_the_user, settings=make_settings(), **arguments
    )
    app.register_blueprint(blueprint, url_prefix=url_prefix)
    return app


@pytest.mark.parametrize(
    ("name", "file", "content_type"),
    [
        ("client.js", "wshub.js", "text/javascript; charset=utf-8"),
        ("client.d.ts", "wshub.d.ts", "text/plain; charset=utf-8"),
    ],
)
async def test_it_is_served_beside_the_socket(hub: WebSocketHub, name: str, file: str, content_type: str) -> None:
    response = await make_quart(hub).test_client().get(f"/ws/{name}")

    assert response.status_code == 200
    assert await response.get_data(as_text=False) == files("quart_wshub").joinpath("static", file).read_bytes()
    assert response.headers["Content-Type"] == content_type
    assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_browser_keeps_it_and_asks_whether_it_has_changed(hub: WebSocketHub) -> None:
    client = make_quart(hub).test_client()
    first = await client.get("/ws/client.js")
    assert first.headers["Cache-Control"] == "no-cache"

    again = await client.get("/ws/client.js", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
    assert await again.get_data(as_text=False) == b""

    changed = await client.get("/ws/client.js", headers={"If-None-Match": '"another"'})
    assert changed.status_code == 200


async def test_head_tells_the_same(hub: WebSocketHub) -> None:
    client = make_quart(hub).test_client()
    got, asked = await client.get("/ws/client.js"), await client.head("/ws/client.js")

    for header in ("Content-Type", "Content-Length", "ETag"):
        assert asked.headers[header] == got.headers[header]


async def test_pages_of_other_origins_may_import_it(hub: WebSocketHub) -> None:
    response = await make_quart(hub).test_client().get("/ws/client.js")

    assert response.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    ("path", "url_prefix", "address"),
    [
        ("/live", None, "/live/client.js"),
        ("/live/", None, "/live/client.js"),
        ("/", None, "/client.js"),
        ("/ws", "/api", "/api/ws/client.js"),
        ("/ws/<room>", None, "/ws/lobby/client.js"),
    ],
)
async def test_it_goes_where_the_route_goes(hub: WebSocketHub, path: str, url_prefix: str | None, address: str) -> None:
    response = await make_quart(hub, path=path, url_prefix=url_prefix).test_client().get(address)

    assert response.status_code == 200


async def test_it_can_be_left_out(hub: WebSocketHub) -> None:
    client = make_quart(hub, serve_client=False).test_client()

    assert (await client.get("/ws/client.js")).status_code == 404
    assert (await client.get("/ws/client.d.ts")).status_code == 404
