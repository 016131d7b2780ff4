"""Peer `oswrite`: nothing but `os.write` of one ready frame to every subscriber. The ceiling of any Python server.

It parses just enough to be triggered: no token check, no validation, no heartbeat, no compression.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import select
import socket
import sys
from typing import Any

from benchmarks.frames import TEXT, frames_in, server_frame
from benchmarks.protocol import message

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def write_all(fd: int, data: bytes) -> None:
    """Write to a non-blocking descriptor, waiting where its buffer is full."""
    while data:
        try:
            written = os.write(fd, data)
        except BlockingIOError:
            waiter = select.poll()
            waiter.register(fd, select.POLLOUT)
            waiter.poll()
        else:
            data = data[written:]


def encode(kind: str, data: dict[str, Any]) -> bytes:
    """A ready frame, in the compact JSON of the other peers."""
    envelope = {"type": kind, "data": data, "request_id": None}
    return server_frame(json.dumps(envelope, separators=(",", ":")).encode())


class Server:
    """All state: descriptors, what they sent so far, and who is subscribed."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", port), backlog=2048)
        self._epoll = select.epoll()
        self._epoll.register(self._listener.fileno(), select.EPOLLIN)
        self._sockets: dict[int, socket.socket] = {}
        self._inboxes: dict[int, bytearray] = {}
        self._upgraded: set[int] = set()
        self._topics: dict[str, dict[int, None]] = {}

    def run(self) -> None:
        """Serve until killed."""
        while True:
            for fd, _events in self._epoll.poll():
                if fd == self._listener.fileno():
                    self._accept()
                else:
                    self._read(fd)

    def _accept(self) -> None:
        sock, _address = self._listener.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sockets[sock.fileno()] = sock
        self._inboxes[sock.fileno()] = bytearray()
        self._epoll.register(sock.fileno(), select.EPOLLIN)

    def _read(self, fd: int) -> None:
        try:
            data = self._sockets[fd].recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self._drop(fd)
            return
        inbox = self._inboxes[fd]
        inbox += data
        if fd not in self._upgraded:
            self._upgrade(fd, inbox)
        for frame in frames_in(inbox):
            if frame.opcode == TEXT:
                self._respond(fd, json.loads(frame.payload))

    def _upgrade(self, fd: int, inbox: bytearray) -> None:
        head, found, rest = bytes(inbox).partition(b"\r\n\r\n")
        if not found:
            return
        key = re.search(rb"(?i)sec-websocket-key: *(\S+)", head)
        digest = hashlib.sha1((key.group(1).decode() if key else "").encode() + GUID.encode()).digest()
        accept = base64.b64encode(digest).decode()
        inbox[:] = rest
        self._upgraded.add(fd)
        reply = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        write_all(fd, f"{reply}Sec-WebSocket-Accept: {accept}\r\n\r\n".encode())

    def _drop(self, fd: int) -> None:
        for members in self._topics.values():
            members.pop(fd, None)
        self._epoll.unregister(fd)
        self._upgraded.discard(fd)
        del self._inboxes[fd]
        self._sockets.pop(fd).close()

    def _respond(self, fd: int, envelope: dict[str, Any]) -> None:
        data = envelope["data"]
        match envelope["type"]:
            case "subscribe":
                self._topics.setdefault(data["topic"], {})[fd] = None
                write_all(fd, encode("bench.subscribed", data))
            case "bench.fanout":
                self._fanout(**data)
                write_all(fd, encode("bench.done", {}))

    def _fanout(self, topic: str, count: int, text: str) -> None:
        subscribers = list(self._topics.get(topic, ()))
        frame = encode("bench.message", message(0, text))
        size = len(frame)
        write = os.write
        for _ in range(count):
            for fd in subscribers:
                try:
                    written = write(fd, frame)
                except BlockingIOError:
                    written = 0
                if written != size:
                    write_all(fd, frame[written:])


if __name__ == "__main__":
    Server(int(sys.argv[1])).run()
