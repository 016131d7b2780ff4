"""`WebSocket`: the socket as a handler uses it."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl

import trio
from pydantic_core import to_json
from werkzeug.datastructures import Headers, MultiDict

from quart_wshub.connection.ending import EndingKind
from quart_wshub.protocol.close_codes import CloseCode, validate_close
from quart_wshub.protocol.envelope import WSEnvelope
from quart_wshub.protocol.errors import UnsupportedDataError, WebSocketDisconnect
from quart_wshub.protocol.frame import Frame
from quart_wshub.protocol.inbound import loads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quart_wshub.connection.session import Session

__all__ = ["WebSocket"]

NO_PARAMS: Mapping[str, Any] = MappingProxyType({})


class WebSocket:
    """Receive from and send to one peer.

    Every method that awaits can be cancelled without losing or half-sending a message, and raises
    `WebSocketDisconnect` once the socket is closed; a handler need not catch that.
    """

    __slots__ = ("_path_params", "_scope", "_session", "_subprotocol")

    def __init__(
        self, session: Session, scope: Mapping[str, Any], path_params: Mapping[str, Any], subprotocol: str | None
    ) -> None:
        """`scope` is the ASGI scope with its tokens masked; the rest is the handshake's."""
        self._session = session
        self._scope = scope
        self._path_params = MappingProxyType(path_params) if path_params else NO_PARAMS
        self._subprotocol = subprotocol

    @property
    def headers(self) -> Headers:
        """The handshake's headers; tokens are masked as ``***``."""
        fields = self._scope["headers"]
        return Headers((name.decode("latin-1").title(), value.decode("latin-1")) for name, value in fields)

    @property
    def args(self) -> MultiDict[str, str]:
        """The handshake's query arguments; tokens are masked as ``***``."""
        query = self._scope["query_string"].decode(errors="replace")
        return MultiDict(parse_qsl(query, keep_blank_values=True, errors="replace"))

    @property
    def path(self) -> str:
        """The handshake's path, without query."""
        path: str = self._scope["path"]
        return path

    @property
    def path_params(self) -> Mapping[str, Any]:
        """The variable parts of the route, where the blueprint's `path` has some: ``path="/ws/<room>"``."""
        return self._path_params

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that was agreed on; `bearer` where it only carried the token."""
        return self._subprotocol

    async def receive(self) -> str | bytes:
        """The next message: text as `str`, binary as `bytes`, also when empty.

        After the peer has gone this still returns every message it had sent, in order.
        """
        return await self._session.inbox.get()

    async def receive_json(self) -> Any:
        """The next message, parsed.

        Raises:
            UnsupportedDataError: it is binary. Leaving the handler, this closes the socket with 1003.
            InvalidJSONError: it is not JSON. Leaving the handler, this closes the socket with 1007.
        """
        return loads(_text(await self._session.inbox.get()))

    async def receive_envelope(self) -> WSEnvelope:
        """The next message, parsed and validated.

        Raises:
            UnsupportedDataError, InvalidJSONError: as for `receive_json`.
            InvalidEnvelopeError: it is not an envelope. Leaving the handler, this closes the socket with 1007.
        """
        return WSEnvelope.decode(_text(await self._session.inbox.get()))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str | bytes:
        """Every message until the socket is closed; the loop then ends without an exception."""
        try:
            return await self.receive()
        except WebSocketDisconnect:
            raise StopAsyncIteration from None

    async def send(self, message: str | bytes) -> None:
        """Send a text (`str`) or binary (`bytes`) message; waits while the send queue is full.

        Returning means that the message is queued. Every call is a checkpoint.

        Raises:
            TypeError: the message is neither.
        """
        if not isinstance(message, str):
            if not isinstance(message, (bytes, bytearray, memoryview)):
                msg = f"a message is str or bytes, not {type(message).__name__}; for other objects there is send_json"
                raise TypeError(msg)
            message = bytes(message)
        await self._session.send(Frame(message))

    async def send_json(self, obj: Any) -> None:
        """Send an object as JSON text; UUIDs, datetimes, dataclasses and pydantic models are supported.

        Raises:
            pydantic_core.PydanticSerializationError: `obj` cannot be serialised to JSON.
        """
        await self._session.send(Frame(to_json(obj).decode()))

    async def send_envelope(self, envelope: WSEnvelope) -> None:
        """Send an envelope."""
        await self._session.send(Frame(envelope.encode()))

    async def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close the socket, after everything sent before. A second call does nothing.

        The closing handshake runs by itself; the handler may do its own cleanup for up to
        `WS_CLOSE_TIMEOUT_SECONDS` and is then cancelled.

        Raises:
            ValueError: the code may not be sent (RFC 6455, section 7.4), or the reason is over 123 bytes.
        """
        validate_close(code, reason)
        await trio.lowlevel.checkpoint_if_cancelled()
        self._session.begin_close(code, reason, kind=EndingKind.HANDLER_CLOSED)
        await trio.lowlevel.cancel_shielded_checkpoint()

    def __repr__(self) -> str:
        return f"<WebSocket {self._session.connection_id}>"


def _text(message: str | bytes) -> str:
    if not isinstance(message, str):
        msg = "expected a text message, got a binary one"
        raise UnsupportedDataError(msg)
    return message
