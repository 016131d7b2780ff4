"""The messages every router takes by itself: `subscribe`, `unsubscribe` and `auth.refresh`."""

from __future__ import annotations

import logging
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AwareDatetime, BaseModel, Field, SecretStr

from quart_wshub.auth.handshake import describe_failure
from quart_wshub.auth.identity import BearerResolver, Identity, ResolverError, resolve
from quart_wshub.connection.session import EndingKind, WebSocketConnection
from quart_wshub.messages.error_answers import internal_error
from quart_wshub.messages.route import BoundRoute, Route
from quart_wshub.messages.topic_policy import PolicyError, TopicPolicies, is_allowed
from quart_wshub.protocol.close_codes import CloseCode
from quart_wshub.protocol.error_codes import ErrorCode
from quart_wshub.protocol.errors import MessageError, TopicLimitError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quart_wshub.hub.websocket_hub import WebSocketHub
    from quart_wshub.messages.signature import Invoke
    from quart_wshub.settings import WebSocketSettings

__all__ = ["BUILTIN_ROUTES", "BuiltIns", "TokenData", "TokenRefreshed", "TopicData"]

log: logging.Logger = logging.getLogger("quart_wshub")


class TopicData(BaseModel):
    """The data of `subscribe` and `unsubscribe`, and of their replies."""

    topic: Annotated[str, Field(min_length=1)]


class TokenData(BaseModel):
    """The data of `auth.refresh`."""

    token: Annotated[SecretStr, Field(min_length=1)]


class TokenRefreshed(BaseModel):
    """The data of the reply to `auth.refresh`."""

    expires_at: AwareDatetime | None


BUILTIN_ROUTES: Mapping[str, Route] = MappingProxyType(
    {
        "subscribe": Route("subscribe", TopicData, TopicData, description="Get what is published to a topic."),
        "unsubscribe": Route("unsubscribe", TopicData, TopicData, description="Get it no more."),
        "auth.refresh": Route(
            "auth.refresh", TokenData, TokenRefreshed, description="Stay connected with a new token of the same user."
        ),
    }
)


class BuiltIns:
    """What answers them, for all connections of one blueprint."""

    def __init__(self, policies: TopicPolicies, resolver: BearerResolver, settings: WebSocketSettings) -> None:
        self._policies = policies
        self._resolver = resolver
        self._settings = settings
        self._said_that_there_is_no_policy = False

    def routes(self) -> dict[str, BoundRoute]:
        """The routes, by type."""
        handlers: dict[str, Invoke] = {
            "subscribe": self.subscribe,
            "unsubscribe": self.unsubscribe,
            "auth.refresh": self.refresh,
        }
        return {name: BoundRoute(facts, handlers[name], handlers[name]) for name, facts in BUILTIN_ROUTES.items()}

    async def subscribe(self, message: TopicData, connection: WebSocketConnection, hub: WebSocketHub) -> TopicData:
        self._check_length(message.topic)
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
        if identity is None:
            _reject(connection, "token invalid or expired")
            return None
        if identity.user_id != connection.user_id:
            _reject(connection, "token of another user")
            return None
        connection.refresh(identity)
        return TokenRefreshed(expires_at=identity.expires_at)

    def _check_length(self, topic: str) -> None:
        longest = self._settings.WS_MAX_TOPIC_LENGTH
        if len(topic) > longest:
            msg = f"the name of a topic has at most {longest} characters"
            raise MessageError(ErrorCode.LIMIT_EXCEEDED, msg)

    async def _check_policy(self, topic: str, connection: WebSocketConnection) -> None:
        policy = self._policies.find(topic)
        if policy is None:
            self._say_if_there_is_no_policy()
        elif await self._allows(policy, topic, connection):
            return
        raise MessageError(ErrorCode.FORBIDDEN, "you may not subscribe to this topic")

    async def _allows(self, policy: Any, topic: str, connection: WebSocketConnection) -> bool:
        try:
            return await is_allowed(policy, connection, topic, seconds=self._settings.WS_AUTH_TIMEOUT_SECONDS)
        except PolicyError as error:
            who = (connection.connection_id, connection.user_id)
            log.error("%s: connection=%s user=%r", error, *who, exc_info=error.__cause__)
            raise internal_error() from None

    def _say_if_there_is_no_policy(self) -> None:
        """Safe by default, but not silently: clients are only told that they may not."""
        if not self._policies and not self._said_that_there_is_no_policy:
            self._said_that_there_is_no_policy = True
            log.warning(
                "a client asked for a topic and was refused: this MessageRouter has no policy. Give it one with "
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


def _reject(connection: WebSocketConnection, reason: str) -> None:
    connection.begin_close(CloseCode.UNAUTHORIZED, reason, kind=EndingKind.SERVER_CLOSED)
