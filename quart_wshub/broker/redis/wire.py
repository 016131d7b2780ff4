"""The wire format: RESP3, and this broker's own channel names and message kinds. No I/O.

hiredis, Redis' own parser, decodes the replies. No client library is used on top of it: coredis' PubSub re-subscribes
after a reconnect without reporting what was missed, buffers without a bound and does not notice a stalled Redis, and
its bare connection hands every message through two tasks and two queues. Measured on one core, Redis included, for a
publish-and-receive hop: 340 µs with its client, 205 µs with its connection, 115 µs with a socket and a parser.
"""

from __future__ import annotations

from typing import Any

from quart_wshub.protocol.errors import ConfigurationError

__all__ = [
    "GAP_MARKER",
    "MESSAGE",
    "ChannelNames",
    "RedisLostError",
    "RedisReplyError",
    "ReplyParser",
    "command",
    "encode_text",
    "is_push",
]

MESSAGE = b"m"
"""The byte before every message."""

GAP_MARKER = b"g"
"""Sent in place of a message: messages of this channel were lost on their way to Redis."""

MOVED_CODES = ("ASK", "CLUSTERDOWN", "MOVED", "TRYAGAIN")

INCOMPLETE = object()


class RedisLostError(Exception):
    """The connection ended, what is received makes no sense, or nothing is received any more."""


class RedisReplyError(Exception):
    """An error reply, with Redis' own text."""

    @property
    def moved(self) -> bool:
        """Whether the command is for another server of the cluster, or the cluster is being reconfigured."""
        return str(self).partition(" ")[0] in MOVED_CODES


class ReplyParser:
    """Bytes in, replies out. Strings stay bytes; errors, also nested ones, become `RedisReplyError`s.

    Raises:
        ConfigurationError: when made, and hiredis is not installed.
    """

    def __init__(self) -> None:
        try:
            from hiredis import Reader
        except ImportError as error:
            raise ConfigurationError(
                "RedisBroker needs hiredis: install it with `pip install 'quart-wshub[redis]'`"
            ) from error
        self._reader = Reader(replyError=RedisReplyError, notEnoughData=INCOMPLETE)

    def feed(self, data: bytes) -> list[Any]:
        """Take bytes from Redis; returns the replies they complete. Error replies are returned, not raised.

        Raises:
            RedisLostError: this is not RESP3, and nothing more can be read from this connection.
        """
        self._reader.feed(data)
        try:
            return list(iter(self._reader.gets, INCOMPLETE))
        except Exception as error:  # hiredis' ProtocolError, and `TypeError` for a map whose key is a list
            raise RedisLostError(f"what answers there is not a Redis: {error}") from error


def is_push(reply: object) -> bool:
    """Whether Redis pushed this, such as a message: hiredis makes pushes a subclass of `list`, and arrays a `list`."""
    return isinstance(reply, list) and type(reply) is not list


def command(*parts: bytes) -> bytes:
    """One command, encoded."""
    pieces = [b"*%d\r\n" % len(parts)]
    pieces += [b"$%d\r\n%b\r\n" % (len(part), part) for part in parts]
    return b"".join(pieces)


def encode_text(text: str) -> bytes:
    """UTF-8 that allows lone surrogates: topics come from clients, and JSON can hold half a surrogate pair."""
    return text.encode("utf-8", "surrogatepass")


class ChannelNames:
    """Maps the hub's channel names to Redis' and back."""

    def __init__(self, prefix: str) -> None:
        self._prefix = encode_text(prefix) + b":"

    def to_redis(self, channel: str) -> bytes:
        return self._prefix + encode_text(channel)

    def from_redis(self, channel: bytes) -> str:
        return channel[len(self._prefix) :].decode("utf-8", "surrogatepass")
