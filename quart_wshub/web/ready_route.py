"""The answer for load balancers: whether this process should get new clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Response

from quart_wshub.protocol.errors import ConfigurationError

if TYPE_CHECKING:
    from quart import Blueprint

    from quart_wshub.hub.websocket_hub import WebSocketHub

__all__ = ["add_readiness_route"]


def add_readiness_route(blueprint: Blueprint, hub: WebSocketHub, path: str) -> None:
    """Add a route that answers 200 while the hub is ready, and 503 while it is not.

    Raises:
        ConfigurationError: `path` does not start with a slash.
    """
    if not isinstance(path, str) or not path.startswith("/"):
        msg = f"ready_path={path!r} must start with '/'"
        raise ConfigurationError(msg)

    async def ready() -> Response:
        return _answer(hub)

    blueprint.add_url_rule(path, "ready", ready, methods=["GET"])


def _answer(hub: WebSocketHub) -> Response:
    if hub.ready:
        return Response('{"ready":true}', 200, content_type="application/json")
    reason = "draining" if hub.draining else "broker"
    return Response(f'{{"ready":false,"reason":"{reason}"}}', 503, content_type="application/json")
