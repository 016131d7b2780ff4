"""Answering the other nodes' questions, and doing what they ask for."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

import trio

from quart_wshub.cluster.channels import node_channel, parse_user_key, user_key
from quart_wshub.cluster.limit import sockets_of
from quart_wshub.cluster.outcomes import outcome_of
from quart_wshub.cluster.wire import (
    NO_ANSWER_WANTED,
    Answer,
    AskClient,
    CloseConnection,
    CloseUser,
    CountConnections,
    CountTopic,
    ListSockets,
    ListUsers,
    RevokeUser,
    encode_control,
)
from quart_wshub.protocol.close_codes import CloseCode
from quart_wshub.protocol.envelope import WSEnvelope
from quart_wshub.protocol.errors import BrokerUnavailableError, UnknownConnectionError, WSHubError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from quart_wshub.auth.revocations import Revocations
    from quart_wshub.broker.base import Broker
    from quart_wshub.cluster.wire import Question
    from quart_wshub.connection.session import Session
    from quart_wshub.delivery.audience import Audience
    from quart_wshub.delivery.registry import Registry

    PromptQuestion = CountConnections | CountTopic | ListUsers | ListSockets | CloseUser | CloseConnection | RevokeUser

__all__ = ["Respondent"]

log: logging.Logger = logging.getLogger("quart_wshub")

USERS_PER_PART = 500
"""Users in one message of an answer: some tens of kilobytes."""

MAX_LONG_ANSWERS = 64
"""Answers of several parts that may wait to be sent."""


class Respondent:
    """What one node says when it is asked."""

    def __init__(self, broker: Broker, registry: Registry[Session], revocations: Revocations) -> None:
        self._broker = broker
        self._registry = registry
        self._revocations = revocations
        self._nursery: trio.Nursery | None = None
        self._asked: dict[tuple[str, int], trio.CancelScope] = {}
        self._put_long, self._long = trio.open_memory_channel[tuple[str, list[Answer]]](MAX_LONG_ANSWERS)

    def answer(self, node: str, question: Question, audience: Audience) -> None:
        """Answer the node that asks; `audience` is who it asks about. Returns at once."""
        if isinstance(question, AskClient):
            assert self._nursery is not None, "questions come in while this runs"
            self._nursery.start_soon(self._ask_client, node, question)
            return
        parts = self._find_answer(question, audience)
        if question.ref != NO_ANSWER_WANTED:
            self._send(node, parts)

    def _send(self, node: str, parts: list[Answer]) -> None:
        try:
            if len(parts) == 1:
                self._broker.post(node_channel(node), encode_control(self._broker.node_id, parts[0]))
            else:
                self._put_long.send_nowait((node_channel(node), parts))
        except (BrokerUnavailableError, trio.WouldBlock):
            log.warning("a question of node %s could not be answered", node)

    def give_up(self, node: str, ref: int) -> None:
        """The node that asked a client does not wait any more."""
        if (asked := self._asked.get((node, ref))) is not None:
            asked.cancel()

    async def run(self) -> None:
        """Do what takes time."""
        async with trio.open_nursery() as self._nursery:
            await self._send_long_answers()

    async def _ask_client(self, node: str, question: AskClient) -> None:
        result: WSEnvelope | WSHubError
        connection = self._registry.get(question.connection_id)
        timeout = math.inf if question.timeout is None else question.timeout
        try:
            with trio.CancelScope() as self._asked[node, question.ref]:
                try:
                    if connection is None:
                        raise UnknownConnectionError(f"there is no connection {question.connection_id}")
                    result = await connection.request(WSEnvelope.decode(question.text), timeout)
                except WSHubError as error:
                    result = error
                self._send(node, [Answer(ref=question.ref, outcome=outcome_of(result))])
        finally:
            del self._asked[node, question.ref]

    async def _send_long_answers(self) -> None:
        """Send them no faster than the broker takes them."""
        async for channel, parts in self._long:
            try:
                for part in parts:
                    await self._broker.publish(channel, encode_control(self._broker.node_id, part))
            except BrokerUnavailableError:
                log.warning("a question of %s could not be answered", channel)

    def _find_answer(self, question: PromptQuestion, audience: Audience) -> list[Answer]:
        ref, registry = question.ref, self._registry
        match question:
            case CountConnections():
                return [Answer(ref=ref, value=len(registry))]
            case CountTopic():
                return [Answer(ref=ref, value=len(registry.of_topic(audience)) if isinstance(audience, str) else 0)]
            case ListUsers():
                return _in_parts(ref, [user_key(user_id) for user_id in registry.users()])
            case ListSockets():
                return [
                    Answer(ref=ref, sockets=sockets_of(registry, audience[0]) if isinstance(audience, tuple) else ())
                ]
            case CloseUser(code=code, reason=reason):
                targets = list(registry.of_user(audience[0])) if isinstance(audience, tuple) else []
                return [Answer(ref=ref, value=_close(targets, code, reason))]
            case RevokeUser(reason=reason):
                user_id = parse_user_key(question.user)
                self._revocations.revoke(user_id)
                return [Answer(ref=ref, value=_close(list(registry.of_user(user_id)), CloseCode.UNAUTHORIZED, reason))]
            case CloseConnection(code=code, reason=reason):
                connection = registry.get(question.connection_id)
                return [Answer(ref=ref, value=_close([] if connection is None else [connection], code, reason))]


def _close(connections: Iterable[Session], code: int, reason: str) -> int:
    """Close some connections; returns how many."""
    return sum(connection.close(code, reason) for connection in connections)


def _in_parts(ref: int, users: list[str]) -> list[Answer]:
    starts = range(0, max(1, len(users)), USERS_PER_PART)
    return [
        Answer(ref=ref, part=number, parts=len(starts), users=tuple(users[start : start + USERS_PER_PART]))
        for number, start in enumerate(starts)
    ]
