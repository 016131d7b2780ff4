"""The main app behind ASGI middleware: the environment variable `MIDDLEWARE` says which."""

from __future__ import annotations

import copy
import os
from typing import Any

import trio
from hypercorn.middleware import ProxyFixMiddleware

from tests.server.apps.introspection import live_tasks
from tests.server.apps.main import app as main_app

__all__ = ["app"]


@main_app.get("/hypercorns-tasks")
async def hypercorns_tasks() -> dict[str, int]:
    """How many tasks run an app, this request's left out, and how many run a fallback."""
    names = [task.name for task in live_tasks()]
    return {
        "apps": sum(name.endswith("task_group._handle") for name in names) - 1,
        "fallbacks": sum(name.endswith("Fallback._run") for name in names),
    }


def proxy_fix_inside() -> Any:
    main_app.asgi_app = ProxyFixMiddleware(main_app.asgi_app, mode="modern")  # type: ignore[method-assign]
    return main_app


async def deep_copy(scope: Any, receive: Any, send: Any) -> None:
    """Copy the scope with whatever is in it by then."""
    await main_app(copy.deepcopy(scope), receive, send)


async def shallow_copy(scope: Any, receive: Any, send: Any) -> None:
    parts = {name: copy.copy(value) for name, value in scope.items()}
    parts["extensions"] = {name: copy.copy(value) for name, value in scope.get("extensions", {}).items()}
    await main_app(parts, receive, send)  # type: ignore[arg-type]


async def relay(scope: Any, receive: Any, send: Any) -> None:
    """Receive in a task of its own, ahead of the app, and end the app at the disconnect."""
    if scope["type"] != "websocket":
        await main_app(scope, receive, send)
        return
    to_app, from_server = trio.open_memory_channel[Any](100)

    async def pump() -> None:
        while True:
            event = await receive()
            await to_app.send(event)
            if event["type"] == "websocket.disconnect":
                await trio.sleep(0.1)
                nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump)
        await main_app(scope, from_server.receive, send)
        nursery.cancel_scope.cancel()


async def only_what_asgi_has(scope: Any, receive: Any, send: Any) -> None:
    """Drop the extensions that ASGI does not define."""
    await main_app({**scope, "extensions": {"websocket.http.response": {}}}, receive, send)  # type: ignore[arg-type]


async def rewrite(scope: Any, receive: Any, send: Any) -> None:
    """Swap the paths of hub routes and plain routes, so that every guess from the path is wrong."""
    path = scope["path"]
    if scope["type"] == "websocket" and path.startswith(("/plain", "/below")):
        path = path.removeprefix("/plain").removeprefix("/below")
    elif scope["type"] == "websocket":
        path = f"/plain{path}"
    await main_app({**scope, "path": path}, receive, send)  # type: ignore[arg-type]


MIDDLEWARE: dict[str, Any] = {
    "legacy ProxyFix": lambda: ProxyFixMiddleware(main_app, mode="legacy"),
    "modern ProxyFix": lambda: ProxyFixMiddleware(main_app, mode="modern"),
    "ProxyFix inside": proxy_fix_inside,
    "deep copy": lambda: deep_copy,
    "shallow copy": lambda: shallow_copy,
    "relay": lambda: relay,
    "no extensions": lambda: only_what_asgi_has,
    "rewrite": lambda: rewrite,
}

app = MIDDLEWARE[os.environ["MIDDLEWARE"]]()
