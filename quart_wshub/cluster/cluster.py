"""One node's part in a hub of many: what it publishes, what it does with what comes in, its life."""

from __future__ import annotations

import logging
import math
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import trio

from quart_wshub.cluster.channel_subscriptions import ChannelSubscriptions
from quart_wshub.cluster.channels import ALL, channel_of, node_channel, topic_channel, user_channel, user_key
from quart_wshub.cluster.complaints import Complaints
from quart_wshub.cluster.confirmations import Confirmations
from quart_wshub.cluster.gaps import GapNotices
from quart_wshub.cluster.inquiries import ANSWER_SECONDS, Answers, Asked, Inquiries
from quart_wshub.cluster.limit import ClusterLimit
from quart_wshub.cluster.node_ids import is_node_id, node_of
from quart_wshub.cluster.outcomes import unpack
from quart_wshub.cluster.respondent import Respondent
from quart_wshub.cluster.wire import (
    Answer,
    AskClient,
    CloseConnection,
    CloseUser,
    GiveUp,
    Publication,
    RevokeUser,
    UnreadableError,
    decode,
    encode_control,
    encode_publication,
    own_publication_prefixes,
)
from quart_wshub.connection.requests import check_timeout, no_reply
from quart_wshub.protocol.errors import BrokerUnavailableError, ConfigurationError, UnknownConnectionError, UsageError
from quart_wshub.protocol.frame import Frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from uuid import UUID

    from quart_wshub.auth.identity import UserId
    from quart_wshub.auth.revocations import Revocations
    from quart_wshub.broker.base import Broker, BrokerStatistics
    from quart_wshub.cluster.wire import Control, Question
    from quart_wshub.connection.session import Session
    from quart_wshub.delivery.audience import Audience
    from quart_wshub.delivery.fan_out import FanOut
    from quart_wshub.delivery.registry import Registry
    from quart_wshub.protocol.envelope import WSEnvelope

__all__ = ["Cluster"]

log: logging.Logger = logging.getLogger("quart_wshub")


class Posting:
    """One publication on its way to the other nodes.

    Attributes:
        failure: why it could not be posted; `None` where it was.
    """

    __slots__ = ("_channel", "_cluster", "_message", "failure")

    def __init__(self, cluster: Cluster, channel: str, message: bytes) -> None:
        self._cluster = cluster
        self._channel = channel
        self._message = message
        self.failure: BrokerUnavailableError | None = None

    def post(self) -> None:
        """Post it, without waiting. Never raises."""
        try:
            self._cluster.post(self._channel, self._message)
        except BrokerUnavailableError as error:
            self.failure = error


class Cluster:
    """Connects a hub's registry and deliveries to a broker. It is the broker's `BrokerListener`.

    As long as `run` does not run, the hub works for its own sockets only, and says so once in the log.

    Attributes:
        node_id: this node's name.
    """

    def __init__(
        self,
        broker: Broker,
        registry: Registry[Session],
        fan_out: FanOut,
        revocations: Revocations,
        max_per_user: int,
    ) -> None:
        self.node_id: str = _node_id(broker)
        self._broker = broker
        self._registry = registry
        self._fan_out = fan_out
        self._subscriptions = registry.watcher = ChannelSubscriptions(broker)
        self._own_publications = own_publication_prefixes(self.node_id)
        self._inquiries = Inquiries(broker)
        self._respondent = Respondent(broker, self._registry, revocations)
        self._gaps = GapNotices(self._registry, fan_out)
        self._confirmations = Confirmations(broker, self.gap)
        self._limit = ClusterLimit(broker, self._inquiries, self._registry, max_per_user)
        self._complaints = Complaints()
        self._nursery: trio.Nursery | None = None
        self._ended = trio.Event()
        self._said_that_it_does_not_run = False

    # What goes out

    def posting(self, audience: Audience, frame: Frame, exclude: UUID | None) -> Posting:
        """A publication for the other nodes; its `post` is called once, when the publication has its place."""
        if exclude is not None and node_of(exclude) == self.node_id:
            exclude = None  # nobody has it but this node
        assert isinstance(frame.payload, str), "an envelope is text"
        return Posting(self, channel_of(audience), encode_publication(self.node_id, frame.payload, exclude))

    def post(self, channel: str, message: bytes) -> None:
        """Let the other nodes have a message. Does not wait.

        Raises:
            BrokerUnavailableError: too much waits already.
        """
        if self.reaches_others():
            self._broker.post(channel, message)

    def close_user(self, user_id: UserId, code: int, reason: str) -> Asked:
        """Begin to close a user's sockets on the other nodes. The total of the answers is how many there are."""
        return self._begin(
            lambda: self.ask(
                user_channel(user_id), lambda ref: CloseUser(ref=ref, code=code, reason=reason), ANSWER_SECONDS
            )
        )

    async def close_connection(self, connection_id: UUID, code: int, reason: str) -> int:
        """Close a connection of another node. Returns how many that were, 0 where its node does not answer in time.

        Raises:
            BrokerUnavailableError: it could not be asked.
        """
        node = node_of(connection_id)
        if node is None or node == self.node_id:
            return 0
        answers = await self.ask(
            node_channel(node),
            lambda ref: CloseConnection(ref=ref, connection_id=connection_id, code=code, reason=reason),
            ANSWER_SECONDS,
        )
        return answers.total

    def revoke(self, user_id: UserId, reason: str) -> Asked:
        """Begin to have every other node revoke a user. The total of the answers is how many sockets they close."""
        return self._begin(lambda: self._revoke(user_key(user_id), reason))

    async def _revoke(self, user: str, reason: str) -> Answers:
        answers = await self.ask(ALL, lambda ref: RevokeUser(ref=ref, user=user, reason=reason), ANSWER_SECONDS)
        silent = await self._broker.nodes() - answers.by_node.keys() - {self.node_id}
        if silent:
            msg = f"{len(silent)} nodes did not confirm the revocation; one that has just died is still counted"
            raise BrokerUnavailableError(msg)
        return answers

    def _begin(self, ask: Callable[[], Awaitable[Answers]]) -> Asked:
        """Begin to ask, in a task of the cluster's own."""
        asked = Asked()
        if not self.reaches_others() or self._nursery is None:
            asked.give(Answers({}, 0))
        else:
            self._nursery.start_soon(asked.run, ask)
        return asked

    async def request(self, connection_id: UUID, envelope: WSEnvelope, timeout: float) -> WSEnvelope:
        """Ask a client of another node. Returns and raises what `WebSocketHub.request` does."""
        check_timeout(timeout)
        text = envelope.encode()
        node = node_of(connection_id)
        if node is None or node == self.node_id:
            raise UnknownConnectionError(f"there is no connection {connection_id}")
        seconds = None if timeout == math.inf else timeout
        ref = 0

        def question(new_ref: int) -> AskClient:
            nonlocal ref
            ref = new_ref
            return AskClient(ref=ref, connection_id=connection_id, text=text, timeout=seconds)

        parts: Sequence[Answer] | None = None
        try:
            answers = await self.ask(node_channel(node), question, timeout)
            parts = answers.by_node.get(node)
        finally:
            if parts is None and ref:
                self._give_up(node, ref)
        if parts is not None and parts[0].outcome is not None:
            return unpack(parts[0].outcome)
        if answers.missing == 0:
            raise UnknownConnectionError(f"there is no connection {connection_id}")
        raise no_reply(envelope.type, timeout)

    def _give_up(self, node: str, ref: int) -> None:
        with suppress(BrokerUnavailableError):  # its own timeout ends it, or the end of the connection
            self._broker.post(node_channel(node), encode_control(self.node_id, GiveUp(ref=ref)))

    async def ask(self, channel: str, question: Callable[[int], Question], timeout: float) -> Answers:
        """Ask the other nodes that listen to a channel; where the broker does not run there are none.

        Raises:
            BrokerUnavailableError: the question could not be put.
        """
        if not self.reaches_others():
            return Answers({}, 0)
        return await self._inquiries.ask(channel, question, timeout)

    # Membership

    @asynccontextmanager
    async def expecting(self, user_id: UserId) -> AsyncIterator[None]:
        """Wait until what other nodes send to a user arrives here. Register the user's socket inside the block."""
        with self._subscriptions.expecting(user_id) as channel:
            await self._confirmed(channel)
            yield

    async def subscribed(self, topic: str) -> None:
        """Wait until what other nodes publish to a topic arrives here; where that takes long, a gap follows."""
        await self._confirmed(topic_channel(topic))

    async def _confirmed(self, channel: str) -> None:
        if self._nursery is not None:
            await self._confirmations.wait(channel)

    def joined(self, user_id: UserId) -> None:
        """A user's socket was registered here; there may be too many on all nodes together."""
        if self._nursery is not None:
            self._limit.check(user_id)

    # What comes in

    async def deliver(self, channel: str, message: bytes) -> None:
        """Take one message from the broker, whatever is in it."""
        if message.startswith(self._own_publications):
            return  # was delivered before it was published
        try:
            origin, content = decode(message)
        except UnreadableError as error:
            self._complaints.complain("a message of another node cannot be read", str(error))
            return
        await self._gaps.tell()
        if isinstance(content, Publication):
            audiences = self._subscriptions.audiences
            if channel in audiences:  # else its last local member has left
                await self._fan_out.deliver(audiences[channel], Frame(content.text), content.exclude)
        else:
            self._take_control(channel, origin, content)

    def _take_control(self, channel: str, origin: str, content: Control) -> None:
        if isinstance(content, Answer):
            self._inquiries.take(origin, content)
        elif isinstance(content, GiveUp):
            self._respondent.give_up(origin, content.ref)
        elif origin == self.node_id:
            self._inquiries.heard(content.ref)
        else:
            self._respondent.answer(origin, content, self._subscriptions.audiences.get(channel))

    def gap(self, channels: frozenset[str]) -> None:
        """Something may have been missed: tell those who listen, and look again at who is connected elsewhere."""
        self._confirmations.told(channels)
        subscribed = self._subscriptions.audiences
        audiences = [subscribed[channel] for channel in channels if channel in subscribed]
        if audiences:
            self._gaps.add(audiences)
        if node_channel(self.node_id) in channels:
            self._limit.check(*self._registry.users())
        else:
            self._limit.check(*(audience[0] for audience in audiences if isinstance(audience, tuple)))

    # Life

    def reaches_others(self) -> bool:
        """Whether the broker runs; the first time that it does not, this says so in the log."""
        if self._nursery is not None:
            return True
        if not self._said_that_it_does_not_run:
            self._said_that_it_does_not_run = True
            log.warning("the hub's broker does not run, so other nodes are not reached: it runs in the app's lifespan")
        return False

    @property
    def ready(self) -> bool:
        """Whether the other nodes are reached at the moment."""
        return self._nursery is not None and self.statistics().ready

    def statistics(self) -> BrokerStatistics:
        """The broker's."""
        return self._broker.statistics()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the broker, and what belongs to it, until `stop`. A second call, while it runs, returns at once.

        Raises:
            ConfigurationError: the broker cannot work.
            UsageError: it ran before, and has ended.
        """
        if self._nursery is not None:
            task_status.started()
            return
        failure: Exception | None = None
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._ended = trio.Event()
                self._limit.check(*self._registry.users())
                for task in (self._gaps.run, self._confirmations.run, self._limit.run, self._respondent.run):
                    nursery.start_soon(task)
                try:
                    await self._broker.run(self, task_status=task_status)
                except Exception as error:
                    failure = error  # raised or logged below, outside the nursery, which would wrap it in a group
                nursery.cancel_scope.cancel()
        finally:
            self._nursery = None
            self._ended.set()
        if isinstance(failure, UsageError):
            raise failure
        if failure is not None:
            # Raised, it would end the app's lifespan while the server goes on.
            log.error("the hub's broker has failed: other nodes are not reached any more", exc_info=failure)

    async def connected(self, seconds: float) -> None:
        """Wait until what other nodes send arrives here, but no longer than this."""
        with trio.move_on_after(seconds):
            await self._broker.subscribed(ALL)

    async def stop(self) -> None:
        """End `run`, and wait for its end. Idempotent."""
        if self._nursery is not None:
            self._said_that_it_does_not_run = True
            self._nursery.cancel_scope.cancel()
            await self._ended.wait()


def _node_id(broker: Broker) -> str:
    node_id = getattr(broker, "node_id", None)
    if not is_node_id(node_id):
        msg = f"broker= must be a Broker, such as RedisBroker(url), not {type(broker).__name__}"
        raise ConfigurationError(msg)
    assert isinstance(node_id, str)
    return node_id
