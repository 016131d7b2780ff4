"""The broker on Redis (6.2 and later) or Valkey: one server, or a cluster with sharded pub/sub.

It needs the extra `redis` of this package. This module can be imported without it; making a `RedisBroker` cannot.
"""

from __future__ import annotations

import logging
import math
import ssl
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import trio

from quart_wshub.broker.base import BrokerStatistics, Receipt
from quart_wshub.broker.node import BrokerNode
from quart_wshub.broker.redis.backlog import Backlog, Reply
from quart_wshub.broker.redis.cluster_servers import ClusterServers
from quart_wshub.broker.redis.connection import RedisDialer
from quart_wshub.broker.redis.node_records import NodeRecords
from quart_wshub.broker.redis.publisher import Publisher
from quart_wshub.broker.redis.retry import Retry
from quart_wshub.broker.redis.server import RedisServer
from quart_wshub.broker.redis.single_server import SingleServer
from quart_wshub.broker.redis.subscriber import Subscriber
from quart_wshub.broker.redis.subscriptions import Subscriptions
from quart_wshub.broker.redis.target import RedisTarget
from quart_wshub.broker.redis.wire import ChannelNames, ReplyParser
from quart_wshub.protocol.errors import BrokerUnavailableError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from quart_wshub.broker.base import BrokerListener
    from quart_wshub.broker.redis.target import RedisAddress
    from quart_wshub.broker.redis.wire import RedisReplyError

__all__ = ["RedisBroker"]

log: logging.Logger = logging.getLogger("quart_wshub")

FLUSH_SECONDS = 1.0
"""When the broker is stopped, what waits is sent for at most this long."""

EVERYTHING = "\0everything"
"""Every node is subscribed to this channel; a gap in it is a gap in all channels."""

MAX_REFUSALS = 20
"""At most this many different error replies are logged between two reconnects."""


class RedisBroker(BrokerNode):
    """Makes one hub of all processes that use the same Redis and the same prefix.

    While Redis is away, messages wait in a bounded queue. When it is back, those younger than `timeout` are sent; older
    ones, and those in flight when the connection broke, are lost, and reported to every node as a gap.

    Args:
        url: `redis://[[user]:password@]host[:port][/db]`, `rediss://…` for TLS, `unix:///path[?db=0]`, or
            `redis+cluster://host:port[,host:port…]` (`rediss+cluster://…`) for a Redis Cluster 7.0 or later.
        prefix: put before every channel and key. Hubs with different prefixes do not see each other. Pub/sub ignores
            databases: two hubs on one Redis need two prefixes.
        timeout: seconds within which every call returns or raises, after which a message that still waits is dropped,
            and after which the connection to a silent Redis is ended.
        max_waiting, max_waiting_bytes: how many messages, and how much memory, may wait to be sent or acknowledged.
        beat: seconds between two renewals of this node's record. A crashed node stays listed for up to three beats.
        max_backoff: the longest delay between two attempts to connect, in seconds.
        ssl_context: for a certificate authority of your own, or a client certificate; the system's if not given.

    Raises:
        ConfigurationError: an argument is wrong, or hiredis is not installed.
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
        _check_positive(timeout=timeout, beat=beat, max_backoff=max_backoff)
        _check_positive(max_waiting=max_waiting, max_waiting_bytes=max_waiting_bytes)
        if not isinstance(prefix, str) or not prefix or "{" in prefix or "}" in prefix:
            raise ConfigurationError(f"RedisBroker: prefix is {prefix!r}; give it a non-empty string without braces")
        ReplyParser()  # raises now if hiredis is missing
        super().__init__()
        self._target = target = RedisTarget.from_url(url)
        self._timeout = timeout
        self._names = ChannelNames(prefix)
        self._backlog = Backlog(max_waiting, max_waiting_bytes)
        self._dialer = RedisDialer(
            target, name=f"wshub-{self._node_id}", ssl_context=_tls(target, ssl_context), timeout=timeout
        )
        self._subscriptions = Subscriptions(self._report_gap)
        self._records = NodeRecords(self._node_id, prefix, self._publisher_for, beat_seconds=beat)
        self._make_retry = partial(Retry, max_backoff)
        self._servers = self._make_servers()
        self._connected = False
        self._connects = 0
        self._refusals: set[str] = set()

    def __repr__(self) -> str:
        return f"RedisBroker({self._target}, node_id={self._node_id!r})"

    def _make_servers(self) -> SingleServer | ClusterServers:
        addresses = self._target.addresses
        if self._target.cluster:
            return ClusterServers(addresses, self._dialer, self._make_server, self._make_retry)
        return SingleServer(self._make_server(addresses[0], lambda channel: True))

    def _make_server(self, address: RedisAddress, is_here: Callable[[bytes], bool]) -> RedisServer:
        sharded = self._target.cluster
        return RedisServer(
            address,
            dialer=self._dialer,
            publisher=Publisher(
                self._backlog,
                timeout=self._timeout,
                verb=b"SPUBLISH" if sharded else b"PUBLISH",
                refused=self._refused,
                overflowed=self._overflowed,
            ),
            subscriber=Subscriber(
                self._subscriptions,
                self._names,
                deliver=self._deliver,
                missed=self._missed,
                is_here=lambda channel: is_here(self._names.to_redis(channel)),
                timeout=self._timeout,
                sharded=sharded,
            ),
            make_retry=self._make_retry,
            changed=self._connections_changed,
        )

    # Life

    async def run(
        self, listener: BrokerListener, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until cancelled; see `Broker.run`.

        Raises:
            UsageError: it was run before.
        """
        self._start(listener)
        self._subscriptions.add(EVERYTHING, may_miss=False)
        sending, receiving = trio.CancelScope(shield=True), trio.CancelScope()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._serve, sending, receiving)
                task_status.started()
                try:
                    await self._records.keep_up()
                finally:
                    receiving.cancel()
                    with trio.move_on_after(FLUSH_SECONDS, shield=True):
                        await self._leave()
                    sending.cancel()
        finally:
            self._running = False
            for server in self._servers:
                server.publisher.close()
            self._subscriptions.close()

    async def _serve(self, sending: trio.CancelScope, receiving: trio.CancelScope) -> None:
        with sending:
            await self._servers.run(receiving)

    async def _leave(self) -> None:
        with suppress(BrokerUnavailableError):
            await self._records.leave()
        for server in self._servers:
            if server.publisher.connected:
                await server.publisher.flushed()

    # Publishing

    def post(self, channel: str, message: bytes) -> None:
        """Queue a message for sending, without waiting; in order with what `publish` sends.

        Raises:
            BrokerUnavailableError: the queue is full, or the broker is not running.
        """
        name = self._names.to_redis(channel)
        self._publisher_for(name).post(name, message)

    async def publish(self, channel: str, message: bytes) -> Receipt:
        """Send a message and wait until Redis has it.

        If cancelled, the message may or may not be sent.

        Raises:
            BrokerUnavailableError: Redis did not confirm it in time; it may have arrived all the same.
        """
        name, reply = self._names.to_redis(channel), Reply(self._timeout)
        try:
            self._publisher_for(name).post(name, message, reply)
        except BrokerUnavailableError:
            await trio.lowlevel.checkpoint()
            raise
        return Receipt(nodes=await reply.wait())

    def _publisher_for(self, name: bytes) -> Publisher:
        if not self._running:
            raise BrokerUnavailableError("the broker is not running")
        return self._servers.server_for(name).publisher

    def _overflowed(self) -> None:
        name = self._names.to_redis(EVERYTHING)
        self._servers.server_for(name).publisher.mark(name, bounded=False)

    # Subscribing

    def subscribe(self, channel: str) -> None:
        """Receive this channel's messages from now on. Idempotent."""
        subscriber = self._subscriber_for(channel)
        if self._subscriptions.add(channel, may_miss=subscriber.failing):
            subscriber.changed(channel)

    def unsubscribe(self, channel: str) -> None:
        """Stop receiving them. Idempotent."""
        if self._subscriptions.remove(channel):
            self._subscriber_for(channel).changed(channel)

    async def subscribed(self, channel: str) -> bool:
        """Wait until Redis has confirmed `subscribe`. `False` if that took longer than `timeout`."""
        return await self._subscriptions.confirmed(channel, self._timeout)

    def _subscriber_for(self, channel: str) -> Subscriber:
        return self._servers.server_for(self._names.to_redis(channel)).subscriber

    def _missed(self, channel: str) -> None:
        self._subscriptions.miss(self._subscriptions.channels if channel == EVERYTHING else [channel])

    def _report_gap(self, channels: frozenset[str]) -> None:
        super()._report_gap(channels - {EVERYTHING})

    # Nodes and counters

    async def nodes(self) -> frozenset[str]:
        """The `node_id` of every running node; a crashed node stays listed for up to three beats.

        Raises:
            BrokerUnavailableError: Redis does not answer in time, or does not keep the records.
        """
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(self._timeout):
            return await self._records.read()
        raise BrokerUnavailableError("Redis does not answer")

    def statistics(self) -> BrokerStatistics:
        """A snapshot of this node's broker counters."""
        channels = self._subscriptions.channels
        return BrokerStatistics(
            ready=self._connected and self._subscriptions.complete,
            channels=len(channels) - (EVERYTHING in channels),
            waiting=sum(server.publisher.waiting for server in self._servers),
            published=self._backlog.published,
            received=self._received,
            lost=self._backlog.lost,
            gaps=self._gaps,
            reconnects=max(0, self._connects - 1),
        )

    def _connections_changed(self) -> None:
        if not self._servers.connected:
            self._servers.moved()  # perhaps: a server that is gone has given its slots to others
        if self._servers.connected == self._connected:
            return
        self._connected = not self._connected
        if not self._connected:
            self._records.lost()
            return
        self._records.found()
        self._connects += 1
        self._refusals.clear()
        log.info("broker: connected to Redis at %s", self._target)

    def _refused(self, error: RedisReplyError) -> None:
        """Log an error reply of Redis. The same text is logged once per connection."""
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


def _tls(target: RedisTarget, context: ssl.SSLContext | None) -> ssl.SSLContext | None:
    if context is not None and not target.tls:
        raise ConfigurationError("RedisBroker: there is an ssl_context, but the url's scheme is not rediss://")
    return ssl.create_default_context() if context is None and target.tls else context
