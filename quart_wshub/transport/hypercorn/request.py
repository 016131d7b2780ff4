"""The upgrade request that nearly every client sends, recognised at first sight. Sans-I/O.

h11 takes ten times as long over it. What is not plainly such a request is `None` here, and hypercorn gets its bytes
untouched: so this may be strict wherever h11 is lenient, and never has to refuse anything itself. What it does take,
it reads as h11 and hypercorn would; a test compares them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote

__all__ = ["PlainRequest", "parse_plain_request"]

MAX_BYTES = 8192
"""Well below what h11 takes (`h11_max_incomplete_size`, 16 KiB)."""

_END = b"\r\n\r\n"
_REQUEST_LINE = re.compile(rb"GET (/[!-~]*) HTTP/1\.1")
_FIELD = re.compile(rb"([-!#$%&'*+.^_`|~0-9A-Za-z]+):[ \t]*([!-~]+(?: +[!-~]+)*)[ \t]*")

_NOT_PLAIN = frozenset({b"content-length", b"transfer-encoding", b"expect"})
"""A body, or a client that waits for an answer before it sends one."""


@dataclass(slots=True)
class PlainRequest:
    """A valid WebSocket handshake.

    Attributes:
        head: all of its bytes.
        raw_path: as it came, without the query.
        path: the same with its escapes resolved.
        query: what follows the first question mark.
        headers: names in lower case, each of them once.
        key: its `Sec-WebSocket-Key`.
        subprotocols: what it offers.
    """

    head: bytes = field(repr=False)
    raw_path: bytes
    path: str
    query: bytes = field(repr=False)
    headers: list[tuple[bytes, bytes]] = field(repr=False)
    key: bytes
    subprotocols: list[str] = field(repr=False)


def parse_plain_request(data: bytes) -> PlainRequest | None:
    """The handshake that these bytes are, from first to last; `None` where they are anything else."""
    if len(data) > MAX_BYTES or not data.endswith(_END):
        return None
    request_line, *lines = data[: -len(_END)].split(b"\r\n")
    target = _REQUEST_LINE.fullmatch(request_line)
    headers = [(match[1].lower(), match[2]) for match in map(_FIELD.fullmatch, lines) if match is not None]
    fields = dict(headers)
    if target is None or not len(lines) == len(headers) == len(fields) or not _is_handshake(fields):
        return None
    offered = fields.get(b"sec-websocket-protocol")
    raw_path, _, query = target[1].partition(b"?")
    return PlainRequest(
        head=data,
        raw_path=raw_path,
        path=unquote(raw_path.decode("ascii")),
        query=query,
        headers=headers,
        key=fields[b"sec-websocket-key"],
        subprotocols=[] if offered is None else _listed(offered),
    )


def _is_handshake(fields: dict[bytes, bytes]) -> bool:
    return (
        b"host" in fields
        and b"sec-websocket-key" in fields
        and fields.get(b"sec-websocket-version") == b"13"
        and fields.get(b"upgrade", b"").lower() == b"websocket"
        and "upgrade" in _listed(fields.get(b"connection", b"").lower())
        and _NOT_PLAIN.isdisjoint(fields)
    )


def _listed(value: bytes) -> list[str]:
    return [item.strip() for item in value.decode("ascii").split(",")]
