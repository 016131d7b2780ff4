"""The names of the channels on which messages go from node to node.

Every name has a UTF-8 form, also where a topic or a user id has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from quart_wshub.auth.identity import UserId
    from quart_wshub.delivery.audience import Audience

__all__ = [
    "ALL",
    "channel_of",
    "has_utf8_form",
    "node_channel",
    "parse_user_key",
    "topic_channel",
    "user_channel",
    "user_key",
]

ALL = "all"
"""The channel for everyone; every node listens to it."""


def channel_of(audience: Audience) -> str:
    """The channel for an audience."""
    if audience is None:
        return ALL
    return topic_channel(audience) if isinstance(audience, str) else user_channel(audience[0])


def topic_channel(topic: str) -> str:
    """The channel for a topic's subscribers; nodes that have some listen to it."""
    return f"topic:{topic}" if has_utf8_form(topic) else f"topic-x:{_in_hex(topic)}"


def user_channel(user_id: UserId) -> str:
    """The channel for a user's sockets; nodes that have some listen to it."""
    return f"user:{user_key(user_id)}"


def node_channel(node_id: str) -> str:
    """The channel that this one node listens to."""
    return f"node:{node_id}"


def user_key(user_id: UserId) -> str:
    """A text that stands for a user id, and for no other: a UUID, its string and an integer stay apart."""
    if isinstance(user_id, UUID):
        return f"u:{user_id.hex}"
    if isinstance(user_id, int):
        return f"i:{int(user_id)}"
    return "s:" + user_id if has_utf8_form(user_id) else f"x:{_in_hex(user_id)}"


def parse_user_key(key: str) -> UserId:
    """The user id that a text stands for.

    Raises:
        ValueError: it stands for none.
    """
    kind, _, value = key.partition(":")
    match kind:
        case "u":
            return UUID(hex=value)
        case "i":
            return int(value)
        case "s":
            return value
        case "x":
            return bytes.fromhex(value).decode(errors="surrogatepass")
    msg = f"not a user key: {kind[:1]!r}"
    raise ValueError(msg)


def has_utf8_form(text: str) -> bool:
    """Whether a text can be sent at all: one with a lone surrogate cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _in_hex(text: str) -> str:
    return text.encode(errors="surrogatepass").hex()
