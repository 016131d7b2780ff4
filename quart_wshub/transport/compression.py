"""The negotiation of `permessage-deflate` (RFC 7692), for servers that ask for it.

Only what clients send is ever compressed: sending uncompressed messages on such a connection is legal (RFC 7692,
section 6), and compressing per socket is what makes fan-out slow. Clients are asked to start afresh with each message,
so that a connection keeps no window between messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from websockets.exceptions import InvalidHeader, NegotiationError
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.headers import build_extension, parse_extension

if TYPE_CHECKING:
    from collections.abc import Sequence

    from websockets.extensions import Extension

__all__ = ["negotiate"]

_FACTORY = ServerPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True)


def negotiate(offers: str) -> tuple[list[tuple[bytes, bytes]], Sequence[Extension]]:
    """From a client's `Sec-WebSocket-Extensions` to the response header and the extension; both empty if none fits."""
    try:
        parsed = parse_extension(offers) if offers else []
    except InvalidHeader:
        return [], ()
    for name, parameters in parsed:
        if name == _FACTORY.name:
            try:
                agreed, extension = _FACTORY.process_request_params(parameters, [])
            except NegotiationError:
                continue
            header = build_extension([(name, agreed)])
            return [(b"sec-websocket-extensions", header.encode())], (extension,)
    return [], ()
