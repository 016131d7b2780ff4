"""Connection ids that contain the node of the connection, so finding it takes no look-up.

A UUID version 8 (RFC 9562): its first 48 bits are the node, 74 of the others are random, so it cannot be guessed.
"""

from __future__ import annotations

import re
import secrets
from uuid import UUID

__all__ = ["is_node_id", "make_connection_id", "node_of"]

NODE_DIGITS = 12

_NODE_ID = re.compile(rf"[0-9a-f]{{{NODE_DIGITS}}}")
_VERSION_8 = 0x8 << 76
_VARIANT = 0b10 << 62


def is_node_id(text: object) -> bool:
    """Whether this has the form of a node id: 12 lower-case hexadecimal digits."""
    return isinstance(text, str) and _NODE_ID.fullmatch(text) is not None


def make_connection_id(node_id: str) -> UUID:
    """A new id for a connection of this node."""
    random = secrets.randbits(74)
    high, low = random >> 62, random & ((1 << 62) - 1)
    return UUID(int=int(node_id, 16) << 80 | _VERSION_8 | high << 64 | _VARIANT | low)


def node_of(connection_id: UUID) -> str | None:
    """The node a connection is, or was, on; `None` if the id was not made by `make_connection_id`."""
    return connection_id.hex[:NODE_DIGITS] if connection_id.version == 8 else None
