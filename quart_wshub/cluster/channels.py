"""The names of the channels between nodes.

Every name has a UTF-8 form, even if the topic or user id has none.
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
"""The channel for everyone; every node subscribes to it."""


def channel_of(audience: Audience) -> str:
    """The channel for an audience."""
    if audience is None:
        return ALL
    return topic_channel(audience) if isinstance(audience, str) else user_channel(audience[0])


def topic_channel(topic: str) -> str:
    """The channel for a topic's subscribers; nodes that have some subscribe to it."""
    return f"topic:{topic}" if has_utf8_form(topic) else f"topic-x:{_in_hex(topic)}"


def user_channel(user_id: UserId) -> str:
    """The channel for a user's sockets; nodes that have some subscribe to it."""
    return f"user:{user_key(user_id)}"


def node_channel(node_id: str) -> str:
    """The channel to which only this node subscribes."""
    return f"node:{node_id}"


def user_key(user_id: UserId) -> str:
    """A string unique to this user id: a UUID, its string and an integer have different keys."""
    if isinstance(user_id, UUID):
        return f"u:{user_id.hex}"
    if isinstance(user_id, int):
        return f"i:{int(user_id)}"
    return "s:" + user_id if has_utf8_form(user_id) else f"x:{_in_hex(user_id)}"


def parse_user_key(key: str) -> UserId:
    """The user id of a `user_key`.

    Raises:
        ValueError: this is not a user key.
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
    raise ValueError(f"not a user key: {kind[:1]!r}")


def has_utf8_form(text: str) -> bool:
    """Whether a string can be encoded: one with a lone surrogate cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _in_hex(text: str) -> str:
    return text.encode(errors="surrogatepass").hex()
