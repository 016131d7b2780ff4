"""How a connection ends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, auto

__all__ = ["Ending", "EndingKind"]


class EndingKind(Enum):
    """Why a connection ends, as far as it changes how."""

    PEER_LEFT = auto()
    """Nothing can be sent any more; the handler may finish what was received."""

    HANDLER_CLOSED = auto()
    """`ws.close()`: the handler may go on with its own cleanup."""

    SERVER_CLOSED = auto()
    """A policy, a timeout, `hub.disconnect`, or the handler is done: it is cancelled, what is queued still goes out."""

    OVERFLOWED = auto()
    """The peer does not take what it is sent: what is queued is dropped."""

    CANCELLED = auto()
    """The server is going down and will not wait."""


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a connection.

    Attributes:
        code, reason: what was sent or received in the close frame.
        kind: how it ends.
        deadline: Trio time at which it has to be over, whatever the peer does.
    """

    code: int
    reason: str
    kind: EndingKind
    deadline: float = math.inf
