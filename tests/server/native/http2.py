"""An HTTP/2 client made of `h2` and a socket: prior knowledge, and WebSockets as of RFC 8441."""

from __future__ import annotations

import socket
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset

from tests.harness.raw import CLOSE, Frame, frame

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from tests.harness.server import Server

__all__ = ["Http2Client", "Http2WebSocket", "http2_client"]


class Http2Client:
    """One connection. Every wait has the socket's timeout, and raises `EOFError` where the server ends it."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.statuses: dict[int, int] = {}
        self.bodies: defaultdict[int, bytearray] = defaultdict(bytearray)
        self.ended: set[int] = set()
        self._withheld: set[int] = set()
        self.flush()

    def flush(self) -> None:
        self._socket.sendall(self.h2.data_to_send())

    def wait(self) -> None:
        """Take in what comes next."""
        data = self._socket.recv(65536)
        if not data:
            raise EOFError
        for event in self.h2.receive_data(data):
            if isinstance(event, ResponseReceived):
                assert event.headers is not None
                fields: dict[Any, Any] = dict(event.headers)
                self.statuses[event.stream_id] = int(fields[":status"])
            elif isinstance(event, DataReceived):
                self.bodies[event.stream_id] += event.data or b""
                self._make_room(event.stream_id, event.flow_controlled_length or 0)
            elif isinstance(event, (StreamEnded, StreamReset)):
                assert event.stream_id is not None
                self.ended.add(event.stream_id)
            elif isinstance(event, ConnectionTerminated):
                raise EOFError
        self.flush()

    def withhold_window_of(self, stream_id: int) -> None:
        """From now on take of this stream no more than what it may send already."""
        self._withheld.add(stream_id)

    def _make_room(self, stream_id: int, size: int) -> None:
        if stream_id not in self._withheld:
            self.h2.acknowledge_received_data(size, stream_id)
        elif size:
            self.h2.increment_flow_control_window(size)

    def request(self, path: str | bytes, *, method: str = "GET", protocol: str | None = None) -> int:
        """Send a request's head; returns its stream."""
        stream_id = self.h2.get_next_available_stream_id()
        headers: list[tuple[bytes, bytes]] = [(b":method", method.encode()), (b":scheme", b"http")]
        headers += [(b":authority", b"127.0.0.1"), (b":path", path if isinstance(path, bytes) else path.encode())]
        if protocol is not None:
            headers += [(b":protocol", protocol.encode()), (b"sec-websocket-version", b"13")]
        self.h2.send_headers(stream_id, headers, end_stream=protocol is None)
        self.flush()
        return stream_id

    def status(self, stream_id: int) -> int:
        while stream_id not in self.statuses:
            self.wait()
        return self.statuses[stream_id]

    def get(self, path: str | bytes) -> tuple[int, bytes]:
        """A whole request; its status and body."""
        stream_id = self.request(path)
        while stream_id not in self.ended:
            self.wait()
        return self.statuses[stream_id], bytes(self.bodies[stream_id])

    def open_websocket(self, path: str) -> Http2WebSocket:
        while not self.h2.remote_settings.enable_connect_protocol:
            self.wait()
        stream_id = self.request(path, method="CONNECT", protocol="websocket")
        assert self.status(stream_id) == 200
        return Http2WebSocket(self, stream_id)

    def close(self) -> None:
        self._socket.close()


class Http2WebSocket:
    """A WebSocket over one stream."""

    def __init__(self, client: Http2Client, stream_id: int) -> None:
        self._client = client
        self.stream_id = stream_id

    @property
    def has_ended(self) -> bool:
        return self.stream_id in self._client.ended

    def send(self, data: bytes) -> None:
        """Send bytes, as the server's flow control allows."""
        h2 = self._client.h2
        while data:
            room = min(h2.local_flow_control_window(self.stream_id), h2.max_outbound_frame_size)
            if room <= 0:
                self._client.wait()
                continue
            h2.send_data(self.stream_id, data[:room])
            self._client.flush()
            data = data[room:]

    def send_frame(self, opcode: int, payload: bytes = b"", *, fin: bool = True) -> None:
        self.send(frame(opcode, payload, fin=fin))

    def end(self) -> None:
        """Say that no more will be sent."""
        self._client.h2.end_stream(self.stream_id)
        self._client.flush()

    def reset(self) -> None:
        self._client.h2.reset_stream(self.stream_id)
        self._client.flush()

    def read_frame(self) -> Frame:
        first, second = self._take(2)
        size = second & 0x7F
        if size >= 126:
            size = int.from_bytes(self._take(2 if size == 126 else 8), "big")
        return Frame(first & 0x0F, self._take(size))

    def read_close(self) -> Frame:
        """The close frame, whatever comes before it."""
        while (received := self.read_frame()).opcode != CLOSE:
            pass
        return received

    def wait_until_ended(self) -> None:
        while not self.has_ended:
            self._client.wait()

    def _take(self, size: int) -> bytes:
        buffer = self._client.bodies[self.stream_id]
        while len(buffer) < size:
            if self.has_ended:
                raise EOFError
            self._client.wait()
        taken = bytes(buffer[:size])
        del buffer[:size]
        return taken


@contextmanager
def http2_client(server: Server, *, timeout: float = 10, tls: ssl.SSLContext | None = None) -> Iterator[Http2Client]:
    """A connection with prior knowledge, or agreed on in the TLS handshake."""
    with socket.create_connection(("127.0.0.1", server.port), timeout) as plain:
        sock = plain if tls is None else tls.wrap_socket(plain, server_hostname="localhost")
        client = Http2Client(sock)
        try:
            yield client
        finally:
            client.close()
