"""The seam between a connection and the socket below it.

An implementation moves whole messages and knows nothing of users, topics or heartbeats. One contract suite,
`tests/contract_transport.py`, runs on every implementation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quart_wshub.protocol.frame import Frame

__all__ = ["Transport"]


class Transport(Protocol):
    """One accepted WebSocket.

    Guarantees:
      - messages arrive and leave in order, whole, text as `str` and binary as `bytes`, also when empty;
      - `receive` and `close` are called by one task at a time, `send` by one task at a time;
      - once the peer has gone, `receive`, `send` and `try_send` raise `WebSocketDisconnect` with its code and reason
        where the server tells them, else 1006;
      - every awaiting method is a checkpoint, also when it raises.
    """

    def try_send(self, frame: Frame) -> Frame | None:
        """Send at once, without waiting. Call it only while nothing waits to be sent and no `send` is under way.

        Returns what is left to be sent: `None` for nothing, the frame itself where none of it went out, or the rest
        of it. Give that to `send` before anything else.
        """
        ...

    async def send(self, frames: Sequence[Frame]) -> None:
        """Send these, in order. Returns when the server or the kernel has taken them.

        Cancelled, it may have sent part of them, and nothing more can be sent: `abort` is due.
        """
        ...

    async def receive(self) -> Sequence[str | bytes]:
        """Wait for messages and take what there is; empty where only the peer's liveness was proven.

        Cancellation loses nothing.

        Raises:
            PeerError: the peer broke the protocol or a limit, after everything it sent before was received. Nothing
                more can be received; close with the error's `close_code`.
            WebSocketDisconnect: the peer has gone, likewise.
        """
        ...

    async def close(self, code: int, reason: str) -> None:
        """Do the closing handshake: send the close frame, drain input until the peer answers, end the connection.

        Where the peer has closed first, only end the connection. Waits for as long as the peer takes: put a deadline
        around it. Cancelled, `abort` is due.
        """
        ...

    def abort(self) -> None:
        """End the connection now, as far as the server allows, and free a task stuck in `send`. Idempotent."""
        ...
