"""Accepting a handshake over the best transport the server offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from quart_wshub.protocol.close_codes import ABNORMAL_CLOSURE
from quart_wshub.protocol.errors import WebSocketDisconnect
from quart_wshub.transport.asgi import AsgiTransport
from quart_wshub.transport.compression import negotiate
from quart_wshub.transport.native import NativeTransport
from quart_wshub.transport.parser import MessageParser
from quart_wshub.transport.upgrade import upgrade_in
from quart_wshub.web.asgi_classes import takeover_of

if TYPE_CHECKING:
    from werkzeug.datastructures import Headers

    from quart_wshub.hub.runtime import HubRuntime
    from quart_wshub.settings import WebSocketSettings
    from quart_wshub.transport.base import Transport
    from quart_wshub.transport.upgrade import Upgrade

__all__ = ["open_transport"]


async def open_transport(
    scope: Any, headers: Headers, runtime: HubRuntime, settings: WebSocketSettings, subprotocol: str | None
) -> Transport:
    """Accept the handshake that Quart is serving. The socket belongs to the caller from here on.

    Raises:
        WebSocketDisconnect: the peer has gone already.
        RuntimeError: the app has accepted it already.
    """
    takeover = takeover_of(scope)
    takeover.claim(scope)
    upgrade = upgrade_in(scope)
    if settings.WS_TRANSPORT == "auto" and upgrade is not None:
        upgrade.worker.on_shutdown(runtime.drain.run)
        upgrade.worker.keep_running(runtime.fan_out.run_flusher)
        return await _open_native(upgrade, headers, settings, subprotocol)
    transport = AsgiTransport(takeover.receive, takeover.send, max_message_bytes=settings.WS_MAX_MESSAGE_BYTES)
    with trio.move_on_after(settings.WS_CLOSE_TIMEOUT_SECONDS) as patience:
        await transport.accept(subprotocol)
    if patience.cancelled_caught:
        raise WebSocketDisconnect(ABNORMAL_CLOSURE)
    return transport


async def _open_native(
    upgrade: Upgrade, headers: Headers, settings: WebSocketSettings, subprotocol: str | None
) -> Transport:
    offers = headers.get("Sec-WebSocket-Extensions", "") if settings.WS_COMPRESSION else ""
    accepted, extensions = negotiate(offers)
    pipe, unread, answer = await upgrade.accept(subprotocol, accepted)
    parser = MessageParser(settings.WS_MAX_MESSAGE_BYTES, extensions)
    return NativeTransport(pipe, parser, parser.feed(unread), greeting=answer)
