"""The broker on Redis (6.2 and later) or Valkey: one server, or a cluster with sharded pub/sub.

Extra `redis` of this package; importing this module does not need it, making a `RedisBroker` does.
"""

from __future__ import annotations

import logging
import math
import secrets
import ssl as ssl_module
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import trio

from quart_wshub.broker.base import BrokerStatistics, Receipt
from quart_wshub.broker.redis.backoff import Backoff
from quart_wshub.broker.redis.cluster import ClusterServers
from quart_wshub.broker.redis.connection import RedisDialer
from quart_wshub.broker.redis.counters import Counters
from quart_wshub.broker.redis.frames import ChannelNames, encode_text
from quart_wshub.broker.redis.nodes import NodeRecords
from quart_wshub.broker.redis.publisher import Budget, Publisher, Reply
from quart_wshub.broker.redis.resp import ReplyParser
from quart_wshub.broker.redis.server import RedisServer, SingleServer
from quart_wshub.broker.redis.subscriber import Subscriber
from quart_wshub.broker.redis.subscriptions import Subscriptions
from quart_wshub.broker.redis.url import RedisTarget
from quart_wshub.protocol.errors import BrokerUnavailableError, ConfigurationError, UsageError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from quart_wshub.broker.base import BrokerListener
    from quart_wshub.broker.redis.resp import RedisReplyError
    from quart_wshub.broker.redis.url import RedisAddress

__all__ = ["RedisBroker"]

log: logging.Logger = logging.getLogger("quart_wshub")

FLUSH_SECONDS = 1.0
"""How long what waits may take to leave when the broker is stopped."""

BACKOFF_FIRST_SECONDS = 0.1

EVERYTHING = "\0everything"
"""A channel that every node listens to, for gaps in more channels than can be told one by one."""

MAX_REFUSALS = 20
"""So many different errors of Redis are logged between two reconnects."""


class Servers(Protocol):
    """Where the channels are."""

    @property
    def connected(self) -> bool:
        """Whether messages of all channels go out and come in."""

    def __iter__(self) -> Iterator[RedisServer]:
        """All servers of the moment."""

    def server_for(self, channel: bytes) -> RedisServer:
        """The server that has a channel, or a key. While that is unknown, one where it can wait."""

    def moved(self) -> None:
        """A server said that something has moved."""

    async def run(self, listening: trio.CancelScope) -> None:
        """Keep connected until cancelled; what listens ends with its own scope."""


class RedisBroker:
    """Makes one hub of all processes that use the same Redis and the same prefix.

    Redis away: publishing goes on into a bounded queue, and what is younger than `timeout` when Redis is back goes out;
    older messages, and those on their way when the connection broke, are lost, which `gap` tells every node.

    Args:
        url: `redis://[[user]:password@]host[:port][/db]`, `rediss://…` for TLS, `unix:///path[?db=0]`, or
            `redis+cluster://host:port[,host:port…]` (`rediss+cluster://…`) for a Redis Cluster 7.0 or later.
        prefix: goes before every channel and key. Hubs with different ones do not see each other. Pub/sub knows no
            databases: two hubs on one Redis need two prefixes.
        timeout: seconds after which every call has its answer, a message that waits is dropped, and a Redis that says
            nothing is taken for dead.
        max_waiting, max_waiting_bytes: how many messages, and how much memory, may wait to be sent or acknowledged.
        beat: seconds between two renewals of this node's record; a node that died is known for three times as long.
        max_backoff: at most this many seconds pass between two attempts to connect.
        ssl_context: for a certificate authority of your own, or a client certificate; the system's if not given.

    Raises:
        ConfigurationError: an argument is wrong, or coredis is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "wshub",
        timeout: float = 5.0,
        max_waiting: int = 50_000,
        max_waiting_bytes: int = 32 * 1024 * 1024,
        beat: float = 2.0,
        max_backoff: float = 5.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        _check_positive(
            timeout=timeout,
            max_waiting=max_waiting,
            max_waiting_bytes=max_waiting_bytes,
            beat=beat,
            max_backoff=max_backoff,
        )
        if not isinstance(prefix, str) or not prefix or "{" in prefix or "}" in prefix:
            raise ConfigurationError(f"RedisBroker: prefix is {prefix!r}; give it a non-empty string without braces")
        self._target = RedisTarget.from_url(url)
        ReplyParser()  # says so now if coredis is missing
        if ssl_context is not None and not self._target.tls:
            raise ConfigurationError("RedisBroker: there is an ssl_context, but the url's scheme is not rediss://")
        if ssl_context is None and self._target.tls:
            ssl_context = ssl_module.create_default_context()
        self._node_id = secrets.token_hex(6)
        self._timeout = timeout
        self._max_backoff = max_backoff
        self._names = ChannelNames(prefix)
        self._counters = Counters()
        self._budget = Budget(max_waiting, max_waiting_bytes)
        self._dialer = RedisDialer(
            self._target, name=f"wshub-{self._node_id}", ssl_context=ssl_context, timeout=timeout
        )
        self._subscriptions = Subscriptions(self._tell_gap)
        self._records = NodeRecords(self._node_id, encode_text(prefix), self._records_publisher, beat_seconds=beat)
        self._servers: Servers = self._make_servers()
        self._listener: BrokerListener | None = None
        self._running = False
        self._was_up = False
        self._is_up = False
        self._reconnects = 0
        self._gaps = 0
        self._refusals: set[str] = set()

    def __repr__(self) -> str:
        return f"RedisBroker({self._target}, node_id={self._node_id!r})"

    def _make_servers(self) -> Servers:
        if self._target.cluster:
            return ClusterServers(self._target.addresses, self._dialer, self._make_server, self._make_backoff)
        return SingleServer(self._make_server(self._target.addresses[0], self._everything_is_here))

    def _make_server(self, address: RedisAddress, is_here: Callable[[bytes], bool]) -> RedisServer:
        sharded = self._target.cluster
        return RedisServer(
            address,
            dialer=self._dialer,
            publisher=Publisher(
                self._budget,
                self._counters,
                timeout=self._timeout,
                verb=b"SPUBLISH" if sharded else b"PUBLISH",
                refused=self._refused,
                overflowed=self._overflowed,
            ),
            subscriber=Subscriber(
                self._subscriptions,
                self._names,
                self._counters,
                deliver=self._deliver,
                missed=self._missed,
                is_here=lambda channel: is_here(self._names.to_redis(channel)),
                timeout=self._timeout,
                sharded=sharded,
            ),
            backoff=self._make_backoff,
            changed=self._connections_changed,
        )

    def _make_backoff(self) -> Backoff:
        return Backoff(min(BACKOFF_FIRST_SECONDS, self._max_backoff), self._max_backoff)

    @staticmethod
    def _everything_is_here(channel: bytes) -> bool:
        return True

    # Life

    @property
    def node_id(self) -> str:
        """This node's name among the others."""
        return self._node_id

    async def run(
        self, listener: BrokerListener, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until cancelled; see `Broker.run`.

        Raises:
            UsageError: it was run before.
        """
        if self._listener is not None:
            raise UsageError("this RedisBroker was run before; make a new one")
        self._listener = listener
        self._subscriptions.want(EVERYTHING, may_miss=False)
        sending, listening = trio.CancelScope(shield=True), trio.CancelScope()
        self._running = True
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._serve, sending, listening)
                task_status.started()
                try:
                    await self._records.keep_up()
                finally:
                    listening.cancel()
                    with trio.move_on_after(FLUSH_SECONDS, shield=True):
                        await self._leave()
                    sending.cancel()
        finally:
            self._running = False
            self._close()

    async def _serve(self, sending: trio.CancelScope, listening: trio.CancelScope) -> None:
        with sending:
            await self._servers.run(listening)

    async def _leave(self) -> None:
        connected = [server.publisher for server in self._servers if server.publisher.connected]
        with suppress(BrokerUnavailableError):
            if self._records_publisher() in connected:
                await self._records.leave()
        for publisher in connected:
            await publisher.flushed()

    def _close(self) -> None:
        for server in self._servers:
            server.publisher.close()
        self._subscriptions.close()

    # The way out

    def post(self, channel: str, message: bytes) -> None:
        """Take a message for sending, without waiting; in order with what `publish` sends.

        Raises:
            BrokerUnavailableError: as much as may wait is waiting, or the broker does not run.
        """
        name = self._names.to_redis(channel)
        self._publisher_for(name).post(name, message)

    async def publish(self, channel: str, message: bytes) -> Receipt:
        """Send a message and wait until Redis has it.

        Cancelled, the message may go out or not.

        Raises:
            BrokerUnavailableError: Redis did not confirm it in time; it may have arrived all the same.
        """
        name, reply = self._names.to_redis(channel), Reply()
        try:
            self._publisher_for(name).post(name, message, reply)
        except BrokerUnavailableError:
            await trio.lowlevel.checkpoint()
            raise
        return Receipt(nodes=await reply.wait())

    def _publisher_for(self, name: bytes) -> Publisher:
        if not self._running:
            raise BrokerUnavailableError("the broker does not run")
        return self._servers.server_for(name).publisher

    def _records_publisher(self) -> Publisher:
        return self._publisher_for(self._records.key)

    # The way in

    def subscribe(self, channel: str) -> None:
        """Want this channel's messages from now on. Idempotent."""
        subscriber = self._servers.server_for(self._names.to_redis(channel)).subscriber
        if self._subscriptions.want(channel, may_miss=subscriber.failing):
            subscriber.changed(channel)

    def unsubscribe(self, channel: str) -> None:
        """Want them no more. Idempotent."""
        if self._subscriptions.forget(channel):
            self._servers.server_for(self._names.to_redis(channel)).subscriber.changed(channel)

    async def subscribed(self, channel: str) -> bool:
        """Wait until Redis has confirmed `listen`. `False` where that took longer than `timeout`."""
        return await self._subscriptions.confirmed(channel, self._timeout)

    async def _deliver(self, channel: str, message: bytes) -> None:
        assert self._listener is not None
        await self._listener.deliver(channel, message)

    def _missed(self, channel: str) -> None:
        wanted = self._subscriptions.wanted
        self._subscriptions.missed(wanted if channel == EVERYTHING else [channel])

    def _overflowed(self) -> None:
        name = self._names.to_redis(EVERYTHING)
        self._servers.server_for(name).publisher.mark_above_the_bound(name)

    def _tell_gap(self, channels: frozenset[str]) -> None:
        assert self._listener is not None
        if not (channels := channels - {EVERYTHING}):
            return
        self._gaps += 1
        log.warning("broker: messages in %d channels may have been missed", len(channels))
        try:
            self._listener.gap(channels)
        except Exception:
            log.exception("broker: the hub failed to take a gap")

    # How it goes

    async def nodes(self) -> frozenset[str]:
        """The `node_id` of every node that runs; one that died without a word for three beats more.

        Raises:
            BrokerUnavailableError: Redis does not answer in time, or does not keep the records.
        """
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(self._timeout):
            return await self._records.read()
        raise BrokerUnavailableError("Redis does not answer")

    def statistics(self) -> BrokerStatistics:
        """How it goes."""
        return BrokerStatistics(
            ready=self._is_up and self._subscriptions.complete,
            channels=len(self._subscriptions.wanted - {EVERYTHING}),
            waiting=sum(server.publisher.waiting for server in self._servers),
            published=self._counters.published,
            received=self._counters.received,
            lost=self._counters.lost,
            gaps=self._gaps,
            reconnects=self._reconnects,
        )

    def _connections_changed(self) -> None:
        if not self._servers.connected:
            self._servers.moved()  # perhaps
        if self._servers.connected == self._is_up:
            return
        self._is_up = not self._is_up
        if not self._is_up:
            self._records.lost()
            return
        self._records.found()
        self._reconnects += self._was_up
        self._was_up = True
        self._refusals.clear()
        log.info("broker: connected to Redis at %s", self._target)

    def _refused(self, error: RedisReplyError) -> None:
        """Redis answers, but not as it should. Told once for every text and connection."""
        if error.moved:
            self._servers.moved()
        text = str(error)
        if text not in self._refusals and len(self._refusals) < MAX_REFUSALS:
            self._refusals.add(text)
            log.warning("broker: Redis refused a command: %s", text)


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise ConfigurationError(f"RedisBroker: {name} is {value!r}; give it a positive number")
