"""One outbound message, built once and shared by every socket it goes to."""

from __future__ import annotations

__all__ = ["Frame"]


class Frame:
    """An immutable text or binary message on its way out.

    A broadcast makes one `Frame` and gives the same object to every connection, so whatever a transport derives from
    it is derived once per broadcast and not once per socket.

    Attributes:
        payload: `str` goes out as a text message, `bytes` as a binary one.
        size: length of the payload in bytes, UTF-8 encoded where it is text.
    """

    __slots__ = ("payload", "size")

    def __init__(self, payload: str | bytes) -> None:
        self.payload = payload
        if isinstance(payload, bytes) or payload.isascii():
            self.size = len(payload)
        else:
            self.size = len(payload.encode())

    def __repr__(self) -> str:
        kind = "text" if isinstance(self.payload, str) else "binary"
        return f"<Frame {kind} {self.size} bytes>"
