"""A hub behind hooks that can refuse a handshake in every way there is: `?hook=` says which."""

from __future__ import annotations

import logging
from typing import Any

import trio
from quart import Response, abort, websocket
from quart_trio import QuartTrio

from quart_wshub import WebSocketHub, WebSocketSettings, make_websocket_blueprint
from tests.server.apps import handlers, resolvers
from tests.server.apps.introspection import live_tasks, make_introspection_blueprint

__all__ = ["app"]

console = logging.StreamHandler()
logging.getLogger("quart_wshub").addHandler(console)

settings = WebSocketSettings()
hub = WebSocketHub(max_per_user=settings.WS_MAX_CONNECTIONS_PER_USER)

app = QuartTrio(__name__)
app.register_blueprint(make_introspection_blueprint(hub))
app.register_blueprint(
    make_websocket_blueprint(handlers.show, hub=hub, bearer_resolver=resolvers.resolve, settings=settings, path="/echo")
)


@app.before_websocket
async def refuse() -> Response | None:
    match websocket.args.get("hook"):
        case "respond":
            return Response("short and stout\n", 418, {"X-Pot": "tea"})
        case "respond late":
            await trio.sleep(0.2)
            return Response("sorry to have kept you waiting", 418)
        case "respond at length":
            return Response(b"x" * 100_000, 418)
        case "respond without a body":
            return Response("", 204)
        case "abort":
            abort(410)
        case "raise":
            msg = "the hook fails"
            raise RuntimeError(msg)
        case "close":
            await websocket.close(4000)
        case "accept":
            await websocket.accept()
    return None


@app.after_websocket
async def note(response: Any) -> Any:
    print(f"after_websocket {None if response is None else response.status_code}", flush=True)
    return response


@app.get("/app-tasks")
async def app_tasks() -> dict[str, int]:
    """The tasks that hypercorn started to run the app in, but for this one's own."""
    names = [task.name for task in live_tasks()]
    return {"count": sum(name.endswith("task_group._handle") for name in names) - 1}
