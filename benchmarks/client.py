"""One client socket: handshake, messages, answers to heartbeats. Non-blocking; the fleet drives it."""

from __future__ import annotations

import base64
import hashlib
import socket
import zlib
from typing import TYPE_CHECKING, Any

from benchmarks.dialects import ENVELOPES, envelope_frame
from benchmarks.errors import PeerError
from benchmarks.frames import CLOSE, PING, PONG, client_frame, frames_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.dialects import Dialect
    from benchmarks.tokens import User

__all__ = ["Address", "Client", "PeerError", "envelope_frame"]

_KEY = base64.b64encode(b"benchmark-client").decode()
_ACCEPT = base64.b64encode(hashlib.sha1(f"{_KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())
_DEFLATE_OFFER = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"

Address = tuple[str, int]


def _upgrade_request(address: Address, path: str, deflate: bool) -> bytes:
    host, port = address
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {_KEY}\r\nSec-WebSocket-Version: 13\r\n{_DEFLATE_OFFER if deflate else ''}\r\n"
    ).encode()


class Client:
    """A socket, and its input that is not parsed yet."""

    __slots__ = ("_dialect", "_inflate", "deflate", "inbox", "sock", "upgraded", "user")

    def __init__(self, address: Address, user: User, *, deflate: bool, dialect: Dialect = ENVELOPES) -> None:
        self.user = user
        self._dialect = dialect
        self.inbox = bytearray()
        self.upgraded = False
        self.deflate = False
        self._inflate: Any = None
        self.sock = socket.create_connection(address, timeout=10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.sock.send(_upgrade_request(address, dialect.path(user.token), deflate))

    def receive(self) -> None:
        """Read what is available into the inbox, and check the response of the handshake when it is complete."""
        data = self.sock.recv(65536)
        if not data:
            raise PeerError(f"server closed the connection; unread: {bytes(self.inbox[:200])!r}")
        self.inbox += data
        if not self.upgraded:
            self._check_upgrade()

    def _check_upgrade(self) -> None:
        head, found, rest = bytes(self.inbox).partition(b"\r\n\r\n")
        if not found:
            return
        if not head.startswith(b"HTTP/1.1 101 ") or _ACCEPT not in head:
            raise PeerError(f"handshake refused: {head[:200]!r}")
        self.deflate = b"permessage-deflate" in head
        self._inflate = zlib.decompressobj(-15) if self.deflate else None
        self.inbox[:] = rest
        self.upgraded = True
        if self._dialect.greeting:
            self.sock.send(self._dialect.greeting)

    def envelopes(self) -> Iterator[dict[str, Any]]:
        """The envelopes received so far; heartbeats are answered and left out."""
        for frame in frames_in(self.inbox):
            payload = self._inflated(frame.payload) if frame.compressed else frame.payload
            if frame.opcode == PING:
                self.sock.send(client_frame(payload, PONG))
            elif frame.opcode == CLOSE:
                raise PeerError(f"server closed with {int.from_bytes(payload[:2], 'big')} {payload[2:]!r}")
            elif frame.opcode < CLOSE:
                heard = self._dialect.hear(payload)
                if heard.answer is not None:
                    self.sock.send(heard.answer)
                if heard.envelope is not None:
                    yield heard.envelope

    def _inflated(self, payload: bytes) -> bytes:
        result: bytes = self._inflate.decompress(payload + b"\x00\x00\xff\xff")
        return result

    def forget_inflate(self) -> None:
        """From now on only count compressed frames; 3,000 idle windows would load the generator itself."""
        self._inflate = None
