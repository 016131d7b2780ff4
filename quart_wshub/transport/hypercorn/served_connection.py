"""What handshakes need of the server's connection they came over, so that they need not import the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import trio
    from hypercorn.config import Config
    from hypercorn.trio.task_group import TaskGroup
    from hypercorn.trio.worker_context import WorkerContext
    from hypercorn.typing import AppWrapper, LifespanState

    from quart_wshub.transport.hypercorn.shutdown import Worker

__all__ = ["Address", "ServedConnection"]

Address = tuple[str, int] | None


class ServedConnection(Protocol):
    """One TCP connection, plain or with TLS.

    Attributes:
        nursery: the server's, in which the task of this connection runs.
        secure: whether `stream` is TLS.
        handed_over: whether somebody claimed the stream; hypercorn neither reads nor writes it any more.
    """

    app: AppWrapper
    config: Config
    context: WorkerContext
    state: LifespanState
    stream: Any
    nursery: trio.Nursery
    worker: Worker
    secure: bool
    client: Address
    local: Address
    handed_over: bool

    async def serve_http(self, task_group: TaskGroup, alpn_protocol: str, first: bytes | None) -> None:
        """Serve requests through hypercorn until the connection ends, or is handed over and the app has returned.

        `first` is what was read already, if anything.
        """

    async def hand_over(self) -> bytes:
        """Stop reading for good. Returns what was read but not looked at; the caller reads on from there."""
        ...

    def forget_http(self) -> None:
        """Drop what only HTTP needs; none of it may be used after that."""

    def drop(self, error: BaseException) -> None:
        """End the connection over an exception, with one line in the log.

        Raises what is not this connection's to handle: `Cancelled`, `KeyboardInterrupt`, `SystemExit`.
        """

    def abort(self) -> None:
        """Close the socket now. Idempotent."""
