"""The built-in messages of every router: `subscribe`, `unsubscribe` and `auth.refresh`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from quart_wshub.auth.handshake import describe_failure
from quart_wshub.auth.identity import BearerResolver, Identity, ResolverError, resolve
from quart_wshub.connection.websocket_connection import session_of
from quart_wshub.description.builtin_messages import BUILTIN_ROUTES, TokenData, TokenRefreshed, TopicData
from quart_wshub.messages.error_answers import internal_error
from quart_wshub.messages.route import BoundRoute
from quart_wshub.messages.topic_policy import PolicyError, TopicPolicies, is_allowed
from quart_wshub.protocol.close_codes import CloseCode
from quart_wshub.protocol.error_codes import ErrorCode
from quart_wshub.protocol.errors import MessageError, TopicLimitError

if TYPE_CHECKING:
    from quart_wshub.connection.websocket_connection import WebSocketConnection
    from quart_wshub.hub.websocket_hub import WebSocketHub
    from quart_wshub.messages.signature import Invoke
    from quart_wshub.settings import WebSocketSettings

__all__ = ["BuiltIns"]

log: logging.Logger = logging.getLogger("quart_wshub")


class BuiltIns:
    """The handlers of the built-in messages, for all connections of one blueprint."""

    def __init__(self, policies: TopicPolicies, resolver: BearerResolver, settings: WebSocketSettings) -> None:
        self._policies = policies
        self._resolver = resolver
        self._settings = settings
        self._warned_no_policy = False

    def routes(self) -> dict[str, BoundRoute]:
        """The built-in routes, by type."""
        handlers: dict[str, Invoke] = {
            "subscribe": self.subscribe,
            "unsubscribe": self.unsubscribe,
            "auth.refresh": self.refresh,
        }
        return {name: BoundRoute(facts, handlers[name], handlers[name]) for name, facts in BUILTIN_ROUTES.items()}

    async def subscribe(self, message: TopicData, connection: WebSocketConnection, hub: WebSocketHub) -> TopicData:
        longest = self._settings.WS_MAX_TOPIC_LENGTH
        if len(message.topic) > longest:
            raise MessageError(ErrorCode.LIMIT_EXCEEDED, f"the name of a topic has at most {longest} characters")
        await self._check_policy(message.topic, connection)
        try:
            await hub.subscribe(connection.connection_id, message.topic)
        except TopicLimitError as error:
            raise MessageError(ErrorCode.LIMIT_EXCEEDED, str(error)) from None
        return message

    async def unsubscribe(self, message: TopicData, connection: WebSocketConnection, hub: WebSocketHub) -> TopicData:
        await hub.unsubscribe(connection.connection_id, message.topic)
        return message

    async def refresh(
        self, message: TokenData, connection: WebSocketConnection, hub: WebSocketHub
    ) -> TokenRefreshed | None:
        identity = await self._resolve(message.token.get_secret_value(), connection)
        if identity is not None and identity.user_id == connection.user_id:
            connection.refresh(identity)
            return TokenRefreshed(expires_at=identity.expires_at)
        reason = "token invalid or expired" if identity is None else "token of another user"
        session_of(connection).close(CloseCode.UNAUTHORIZED, reason)
        return None

    async def _check_policy(self, topic: str, connection: WebSocketConnection) -> None:
        policy = self._policies.find(topic)
        try:
            if policy is None:
                self._warn_without_policies()
            elif await is_allowed(policy, connection, topic, seconds=self._settings.WS_AUTH_TIMEOUT_SECONDS):
                return
        except PolicyError as error:
            who = (connection.connection_id, connection.user_id)
            log.error("%s: connection=%s user=%r", error, *who, exc_info=error.__cause__)
            raise internal_error() from None
        raise MessageError(ErrorCode.FORBIDDEN, "you may not subscribe to this topic")

    def _warn_without_policies(self) -> None:
        """Log once that a router without any policy refuses every topic: clients are only told `forbidden`."""
        if not self._policies and not self._warned_no_policy:
            self._warned_no_policy = True
            log.warning(
                "a client was refused a topic: this MessageRouter has no policy. Give it one with "
                "authorize_subscribe= or @messages.authorize(prefix); to open every topic to every user, "
                "authorize_subscribe=lambda connection, topic: True"
            )

    async def _resolve(self, token: str, connection: WebSocketConnection) -> Identity | None:
        try:
            return await resolve(self._resolver, token, seconds=self._settings.WS_AUTH_TIMEOUT_SECONDS)
        except ResolverError as error:
            who = (connection.connection_id, connection.user_id)
            log.error("auth.refresh failed: connection=%s user=%r: %s", *who, describe_failure(token, error))
            raise internal_error() from None
