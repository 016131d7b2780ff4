"""An app's messages as an AsyncAPI 3.0.0 document.

The document takes the server's side, as the specification demands: `receive` is what clients send. Its order is fixed,
so the same arguments give the same bytes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from quart_wshub.auth.credentials import BEARER
from quart_wshub.description.asyncapi_messages import CHANNEL, MessageWriter
from quart_wshub.description.catalog import make_catalog
from quart_wshub.protocol.close_codes import CloseCode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quart_wshub.description.catalog import Described
    from quart_wshub.settings import WebSocketSettings

__all__ = ["AsyncAPIOptions", "asyncapi"]

Json = dict[str, Any]

DESCRIPTION = (
    "One WebSocket per client. "
    "Each message is a JSON text: its `type`, its `data`, and a `request_id` that ties a reply to its request."
)


class AsyncAPIOptions(TypedDict, total=False):
    """What a document says besides the messages."""

    title: str
    """The API's name; by default ``WebSocket API``."""

    version: str
    """The API's version; by default ``1.0.0``."""

    description: str
    """More about the API, in Markdown."""

    host: str | None
    """Where it is served, such as ``api.example.com``. `None`, the default: the document names no server."""

    secure: bool
    """Whether that host speaks `wss`, which is the default, or `ws`."""


def asyncapi(
    messages: Described,
    *,
    path: str = "/ws",
    settings: WebSocketSettings | None = None,
    **options: Unpack[AsyncAPIOptions],
) -> dict[str, Any]:
    """Describe an app's messages and the built-in ones as an AsyncAPI 3.0.0 document, ready for `json.dump`.

    Args:
        messages: the app's `MessageRouter`.
        path: of the WebSocket route, as Quart has it: ``/ws/<room>``.
        settings: leaves out what they switch off, such as `?token=`. `None`: the defaults.
        options: see `AsyncAPIOptions`.

    Raises:
        ConfigurationError: a model has no JSON schema; the message names it.
    """
    query_token = settings is None or settings.WS_ALLOW_QUERY_TOKEN
    schemes = {name: scheme for name, scheme in SECURITY_SCHEMES.items() if query_token or name != "query"}
    security = {"security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in schemes]}
    writer = MessageWriter(make_catalog(messages, hello=settings is None or settings.WS_HELLO))
    host = options.get("host")
    server = {"host": host, "protocol": "wss" if options.get("secure", True) else "ws", **security}
    return {
        "asyncapi": "3.0.0",
        "info": _info(options),
        "defaultContentType": "application/json",
        **({} if host is None else {"servers": {"default": server}}),
        "channels": {CHANNEL: _channel(path, writer.messages(), query_token=query_token)},
        # Where no server is named, the operations say that clients need a token.
        "operations": writer.operations(common=security if host is None else {}),
        "components": {
            "schemas": writer.schemas(),
            "messages": writer.messages(),
            "correlationIds": {"requestId": {"location": "$message.payload#/request_id"}},
            "securitySchemes": schemes,
        },
    }


def _info(options: AsyncAPIOptions) -> Json:
    info = {"title": options.get("title", "WebSocket API"), "version": options.get("version", "1.0.0")}
    description = options.get("description")
    return {**info, "description": description} if description else info


_VARIABLE = re.compile(r"<(?:[^<>:]*:)?([^<>:]+)>")
"""A variable part of a route, with or without its converter."""


def _channel(path: str, keys: Iterable[str], *, query_token: bool) -> Json:
    variables = _VARIABLE.findall(path)
    return {
        "address": _VARIABLE.sub(r"{\1}", path),
        "description": DESCRIPTION,
        "messages": {key: {"$ref": f"#/components/messages/{key}"} for key in keys},
        **({"parameters": {variable: {} for variable in variables}} if variables else {}),
        "bindings": {"ws": _handshake(query_token=query_token)},
        "x-close-codes": [
            {"code": int(code), "reason": code.reason, "reconnect": code.reconnect} for code in CloseCode
        ],
    }


def _handshake(*, query_token: bool) -> Json:
    headers = {
        "Sec-WebSocket-Protocol": {"type": "string", "description": f"`{BEARER}, <token>`, then other subprotocols."},
        "Authorization": {"type": "string", "description": "`Bearer <token>`"},
    }
    handshake: Json = {"method": "GET", "headers": {"type": "object", "properties": headers}, "bindingVersion": "0.1.0"}
    if query_token:
        handshake["query"] = {"type": "object", "properties": {"token": {"type": "string"}}}
    return handshake


SECURITY_SCHEMES: Json = {
    "subprotocol": {
        "type": "httpApiKey",
        "in": "header",
        "name": "Sec-WebSocket-Protocol",
        "description": f'For browsers: new WebSocket(url, ["{BEARER}", token]). Takes precedence.',
    },
    "authorization": {"type": "http", "scheme": "bearer", "description": "For clients that can set headers."},
    "query": {
        "type": "httpApiKey",
        "in": "query",
        "name": "token",
        "description": "For clients that can set no header. Used if there is no other token.",
    },
}
