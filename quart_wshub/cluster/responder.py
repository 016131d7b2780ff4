"""Responding to the other nodes' requests."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

import trio

from quart_wshub.cluster.channels import node_channel, parse_user_key, user_key
from quart_wshub.cluster.limit import sockets_of
from quart_wshub.cluster.outcome import Outcome
from quart_wshub.cluster.wire import (
    NO_RESPONSE,
    CloseConnection,
    CloseUser,
    CountConnections,
    CountTopic,
    ListSockets,
    ListUsers,
    RequestClient,
    Response,
    RevokeUser,
    encode_control,
)
from quart_wshub.protocol.close_codes import CloseCode
from quart_wshub.protocol.envelope import WSEnvelope
from quart_wshub.protocol.errors import BrokerUnavailableError, UnknownConnectionError, WSHubError

if TYPE_CHECKING:
    from quart_wshub.auth.revocations import Revocations
    from quart_wshub.broker.base import Broker
    from quart_wshub.cluster.wire import Request
    from quart_wshub.connection.session import Session
    from quart_wshub.delivery.audience import Audience
    from quart_wshub.delivery.registry import Registry

    ImmediateRequest = (
        CountConnections | CountTopic | ListUsers | ListSockets | CloseUser | CloseConnection | RevokeUser
    )

__all__ = ["Responder"]

log: logging.Logger = logging.getLogger("quart_wshub")

USERS_PER_PART = 500
"""Users in one part of a response: some tens of kilobytes."""

MAX_QUEUED_RESPONSES = 64
"""Responses of several parts that may wait to be sent."""


class Responder:
    """Carries out the other nodes' requests and sends the responses."""

    def __init__(self, broker: Broker, registry: Registry[Session], revocations: Revocations) -> None:
        self._broker = broker
        self._registry = registry
        self._revocations = revocations
        self._nursery: trio.Nursery | None = None
        self._client_requests: dict[tuple[str, int], trio.CancelScope] = {}
        self._queue, self._queued = trio.open_memory_channel[tuple[str, list[Response]]](MAX_QUEUED_RESPONSES)

    def respond(self, node: str, request: Request, audience: Audience) -> None:
        """Carry out a request of `node` about `audience`, and respond. Does not wait."""
        if isinstance(request, RequestClient):
            assert self._nursery is not None, "requests arrive only while this runs"
            self._nursery.start_soon(self._request_client, node, request)
            return
        parts = self._carry_out(request, audience)
        if request.ref != NO_RESPONSE:
            self._send(node, parts)

    def _send(self, node: str, parts: list[Response]) -> None:
        try:
            if len(parts) == 1:
                self._broker.post(node_channel(node), encode_control(self._broker.node_id, parts[0]))
            else:
                self._queue.send_nowait((node, parts))
        except (BrokerUnavailableError, trio.WouldBlock):
            log.warning("could not respond to node %s", node)

    def cancel(self, node: str, ref: int) -> None:
        """Cancel a request to a client: the node that made it does not wait any more."""
        if (scope := self._client_requests.get((node, ref))) is not None:
            scope.cancel()

    async def run(self) -> None:
        """Run the requests to clients, and send long responses no faster than the broker takes them."""
        async with trio.open_nursery() as self._nursery:
            async for node, parts in self._queued:
                try:
                    for part in parts:
                        await self._broker.publish(node_channel(node), encode_control(self._broker.node_id, part))
                except BrokerUnavailableError:
                    log.warning("could not respond to node %s", node)

    async def _request_client(self, node: str, request: RequestClient) -> None:
        result: WSEnvelope | WSHubError
        connection = self._registry.get(request.connection_id)
        timeout = math.inf if request.timeout is None else request.timeout
        try:
            with trio.CancelScope() as self._client_requests[node, request.ref]:
                try:
                    if connection is None:
                        raise UnknownConnectionError(f"there is no connection {request.connection_id}")
                    result = await connection.request(WSEnvelope.decode(request.text), timeout)
                except WSHubError as error:
                    result = error
                self._send(node, [Response(ref=request.ref, outcome=Outcome.of(result))])
        finally:
            del self._client_requests[node, request.ref]

    def _carry_out(self, request: ImmediateRequest, audience: Audience) -> list[Response]:
        ref, registry = request.ref, self._registry
        user = audience[0] if isinstance(audience, tuple) else None
        match request:
            case CountConnections():
                return [Response(ref=ref, value=len(registry))]
            case CountTopic():
                return [Response(ref=ref, value=len(registry.of_topic(audience)) if isinstance(audience, str) else 0)]
            case ListUsers():
                return _in_parts(ref, [user_key(user_id) for user_id in registry.users()])
            case ListSockets():
                return [Response(ref=ref, sockets=() if user is None else sockets_of(registry, user))]
            case CloseUser():
                connections = () if user is None else registry.of_user(user)
            case RevokeUser():
                user = parse_user_key(request.user)
                self._revocations.revoke(user)
                connections = registry.of_user(user)
            case _:
                connection = registry.get(request.connection_id)
                connections = () if connection is None else (connection,)
        code = CloseCode.UNAUTHORIZED if isinstance(request, RevokeUser) else request.code
        closed = sum(connection.close(code, request.reason) for connection in tuple(connections))
        return [Response(ref=ref, value=closed)]


def _in_parts(ref: int, users: list[str]) -> list[Response]:
    starts = range(0, max(1, len(users)), USERS_PER_PART)
    return [
        Response(ref=ref, part=number, parts=len(starts), users=tuple(users[start : start + USERS_PER_PART]))
        for number, start in enumerate(starts)
    ]
