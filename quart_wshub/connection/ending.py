"""`Ending`: the close code of a connection, and why and how it closes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, auto

__all__ = ["Ending", "EndingKind"]


class EndingKind(Enum):
    """Why a connection closes, as far as that changes how."""

    PEER_LEFT = auto()
    """Nothing can be sent any more; the handler may read what was received and finish."""

    HANDLER_CLOSED = auto()
    """`ws.close()`: the handler may do its own cleanup."""

    SERVER_CLOSED = auto()
    """A policy, a timeout, `hub.disconnect`, or a handler that returned: what is queued still goes out."""

    OVERFLOWED = auto()
    """The peer reads too slowly: what is queued is dropped."""

    CANCELLED = auto()
    """The server was cancelled and will not wait."""


@dataclass(frozen=True, slots=True)
class Ending:
    """The close of a connection.

    Attributes:
        code, reason: sent or received in the close frame.
        kind: why it closes.
        deadline: Trio time at which it must be over, whatever the peer does.
    """

    code: int
    reason: str
    kind: EndingKind
    deadline: float = math.inf
