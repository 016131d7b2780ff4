"""What a server offers beside ASGI where the native transport serves: the byte stream below a WebSocket handshake.

`web/` finds it in the ASGI scope, `transport/hypercorn/` puts it there. This module needs nothing of hypercorn, so that
it can be imported whatever version is installed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from quart_wshub.transport.pipes import Pipe

__all__ = ["UPGRADE", "Drain", "HubPaths", "ServerWorker", "Upgrade", "upgrade_in"]

UPGRADE = "quart_wshub.upgrade"
"""The scope extension that holds a handshake's `Upgrade`."""

Drain = Callable[[float], Awaitable[object]]
"""Closes what it is responsible for, within so many seconds."""


class HubPaths(Protocol):
    """Says which handshakes are likely to be claimed. Must be hashable and weakly referenceable."""

    def serves(self, path: str) -> bool:
        """Whether this path leads to a hub. A wrong answer costs time, and nothing else."""
        ...


class ServerWorker(Protocol):
    """The server process that a handshake came to."""

    def on_shutdown(self, drain: Drain) -> None:
        """Have something drained at shutdown. Idempotent."""

    def keep_running(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run a task until the server has shut down. Idempotent."""


class Upgrade(ABC):
    """A handshake whose byte stream the app can claim.

    A copy of it is itself: middleware may copy the scope it is in, and there is only one socket.

    Attributes:
        scope: the scope as the server handed it out and as its access log reads it. Gone once the handshake is claimed.
    """

    __slots__ = ()

    scope: MutableMapping[str, Any]

    @property
    @abstractmethod
    def worker(self) -> ServerWorker:
        """What this connection shares with the others of the process."""

    @abstractmethod
    async def accept(self, subprotocol: str | None, headers: list[tuple[bytes, bytes]]) -> tuple[Pipe, bytes, bytes]:
        """Accept the handshake and claim the byte stream below it. Call it once.

        Returns the stream, what was received from it already, and what of the answer is left to the caller to send
        before anything else. Of `permessage-deflate` only what `headers` say is negotiated.

        Raises:
            WebSocketDisconnect: the handshake was answered already, or the client has gone.
        """

    def __copy__(self) -> Upgrade:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Upgrade:
        return self


def upgrade_in(scope: Any) -> Upgrade | None:
    """The upgrade in a scope, if the server put one there."""
    upgrade = (scope.get("extensions") or {}).get(UPGRADE)
    return upgrade if isinstance(upgrade, Upgrade) else None
