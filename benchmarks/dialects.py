"""How a peer encodes its envelopes: as they are, or as Socket.IO events. No I/O."""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple, Protocol

from benchmarks.errors import PeerError
from benchmarks.frames import client_frame

Envelope = dict[str, Any]


class Heard(NamedTuple):
    """The envelope in a message, if any, and the frame to answer it with, if any."""

    envelope: Envelope | None
    answer: bytes | None = None


class Dialect(Protocol):
    """One encoding."""

    greeting: bytes
    """The frames that a client sends first, once the handshake is done."""

    def path(self, token: str) -> str:
        """The request target of the handshake."""

    def frame(self, kind: str, data: dict[str, Any]) -> bytes:
        """A ready client frame with an envelope in it."""

    def hear(self, payload: bytes) -> Heard:
        """Decode one message."""


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class _Envelopes:
    """JSON envelopes, and heartbeats that are envelopes as well."""

    greeting = b""
    _PONG = client_frame(b'{"type":"pong","data":{}}')

    def path(self, token: str) -> str:
        return f"/ws?token={token}"

    def frame(self, kind: str, data: dict[str, Any]) -> bytes:
        return client_frame(_json({"type": kind, "data": data}))

    def hear(self, payload: bytes) -> Heard:
        envelope = json.loads(payload)
        return Heard(None, self._PONG) if envelope["type"] == "ping" else Heard(envelope)


class _SocketIO:
    """Engine.IO 4 with Socket.IO 5 on it: the type becomes the event's name, the data its argument."""

    greeting = client_frame(b"40")
    _PONG = client_frame(b"3")

    def path(self, token: str) -> str:
        return f"/socket.io/?EIO=4&transport=websocket&token={token}"

    def frame(self, kind: str, data: dict[str, Any]) -> bytes:
        return client_frame(b"42" + _json([kind, data]))

    def hear(self, payload: bytes) -> Heard:
        if payload.startswith(b"42"):
            kind, data = json.loads(payload[2:])
            return Heard({"type": kind, "data": data})
        if payload == b"2":
            return Heard(None, self._PONG)
        if payload.startswith((b"0", b"40")):  # the session's parameters, and that it has begun
            return Heard(None)
        raise PeerError(f"unexpected Socket.IO packet: {payload[:200]!r}")


ENVELOPES: Final[Dialect] = _Envelopes()
SOCKET_IO: Final[Dialect] = _SocketIO()


def envelope_frame(kind: str, data: dict[str, Any]) -> bytes:
    """A ready client frame with a plain envelope in it."""
    return ENVELOPES.frame(kind, data)
