"""What the broker's own bytes look like in Redis: channel names, and the byte before every message.

The byte tells a message from a marker, which says that messages of this channel were lost on their way to Redis.
"""

from __future__ import annotations

__all__ = ["GAP_MARKER", "MESSAGE", "ChannelNames", "encode_text"]

MESSAGE = b"m"
GAP_MARKER = b"g"


def encode_text(text: str) -> bytes:
    """UTF-8, also for what is none: topics come from peers, and JSON can hold half a surrogate pair."""
    return text.encode("utf-8", "surrogatepass")


class ChannelNames:
    """Channels as the hub calls them, and as Redis does."""

    def __init__(self, prefix: str) -> None:
        self._prefix = encode_text(prefix) + b":"

    def to_redis(self, channel: str) -> bytes:
        return self._prefix + encode_text(channel)

    def from_redis(self, channel: bytes) -> str:
        return channel[len(self._prefix) :].decode("utf-8", "surrogatepass")
