"""`ConnectionStatistics`: the counters of a connection."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ConnectionStatistics"]


@dataclass(frozen=True, slots=True)
class ConnectionStatistics:
    """A snapshot of one connection. Sizes are in bytes of payload, without framing.

    Attributes:
        messages_received, bytes_received: from the peer, heartbeats included.
        messages_sent, bytes_sent: accepted for sending, heartbeats included.
        queued_messages, queued_bytes: of those, waiting for the socket.
        unread_messages: received, waiting for the handler.
        round_trip_seconds: from the last heartbeat ping to its pong; `None` before the first.
    """

    messages_received: int
    bytes_received: int
    messages_sent: int
    bytes_sent: int
    queued_messages: int
    queued_bytes: int
    unread_messages: int
    round_trip_seconds: float | None
