"""The JavaScript client beside the socket: `<path>/client.js`, and its types at `<path>/client.d.ts`."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from quart import Blueprint, Response, request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["add_client_routes"]

FILES = {
    "client.js": ("wshub.js", "text/javascript; charset=utf-8"),
    "client.d.ts": ("wshub.d.ts", "text/plain; charset=utf-8"),
}
"""Under which name which file of `static/` is served, and as what."""


def add_client_routes(blueprint: Blueprint, path: str) -> None:
    """Serve the client's files below `path`, to anyone: it is public code, and holds nothing of the app."""
    for name, (file, content_type) in FILES.items():
        blueprint.add_url_rule(f"{path.rstrip('/')}/{name}", file.replace(".", "_"), _view_of(file, content_type))


def _view_of(file: str, content_type: str) -> Callable[..., Awaitable[Response]]:
    content = files("quart_wshub").joinpath("static", file).read_bytes()
    etag = hashlib.sha256(content).hexdigest()[:32]
    headers = {
        # The address stays the same when the package is upgraded, so that a copy is to be checked, which costs a 304.
        "Cache-Control": "no-cache",
        # A module is fetched with CORS, and pages of other origins may import this one.
        "Access-Control-Allow-Origin": "*",
        "X-Content-Type-Options": "nosniff",
    }

    async def view(**path_params: Any) -> Response:
        response = Response(content, 200, headers, content_type=content_type)
        response.set_etag(etag)
        return await response.make_conditional(request)

    return view
