"""`WebSocketConnection`: one connection as an app sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    from quart_wshub.auth.identity import Identity, UserId
    from quart_wshub.connection.session import Session
    from quart_wshub.connection.statistics import ConnectionStatistics
    from quart_wshub.connection.websocket import WebSocket

__all__ = ["WebSocketConnection", "session_of"]


class WebSocketConnection:
    """One socket of one user. Read-only for the app; act on it through the hub or the handler's `ws`."""

    __slots__ = ("_session", "_ws")

    def __init__(self, session: Session, ws: WebSocket) -> None:
        self._session = session
        self._ws = ws

    @property
    def connection_id(self) -> UUID:
        """Identifies this socket; the client knows it from `hello`."""
        return self._session.connection_id

    @property
    def user_id(self) -> UserId:
        """Who authenticated."""
        return self._session.user_id

    @property
    def identity(self) -> Identity:
        """Who authenticated, until when, and with which claims."""
        return self._session.identity

    @property
    def claims(self) -> Mapping[str, Any]:
        """The identity's claims; empty where the resolver returned a bare id."""
        return self._session.identity.claims

    @property
    def connected_at(self) -> datetime:
        """When the connection was made, in UTC."""
        return self._session.connected_at

    @property
    def topics(self) -> frozenset[str]:
        """The topics this connection is subscribed to; empty once it is closed."""
        return self._session.topics

    @property
    def ws(self) -> WebSocket:
        """The socket, as the handler has it."""
        return self._ws

    def refresh(self, identity: Identity) -> None:
        """Replace the identity by that of a newer token: its expiry, sooner or later, and its claims.

        Synchronous; the new expiry counts at once. One that is past closes the socket with 4401.

        Raises:
            UsageError: it is another user's.
            WebSocketDisconnect: the socket is closed, for instance because the user was revoked.
        """
        self._session.refresh(identity)

    def statistics(self) -> ConnectionStatistics:
        """A snapshot of this connection's counters and queues."""
        return self._session.statistics()

    def __repr__(self) -> str:
        return f"<WebSocketConnection {self.connection_id} user={self.user_id!r}>"


def session_of(connection: WebSocketConnection) -> Session:
    """The session that a connection wraps."""
    return connection._session
