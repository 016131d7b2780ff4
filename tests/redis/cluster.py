"""A Redis Cluster of three on loopback."""

from __future__ import annotations

import socket
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from tests.harness.polling import poll
from tests.harness.ports import free_port
from tests.harness.redis import RedisProcess, run_redis

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RedisCluster", "run_cluster"]

SLOTS = 16_384


class RedisCluster:
    def __init__(self, servers: list[RedisProcess]) -> None:
        self.servers = servers

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in self.servers)

    def node_id(self, server: RedisProcess) -> str:
        return server.command("CLUSTER", "MYID").split(b"\r\n")[1].decode()

    def move_slot(self, slot: int, source: RedisProcess, target: RedisProcess) -> None:
        """As resharding does it, at once."""
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", self.node_id(source))
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", self.node_id(target))
        for server in (target, source, *self.servers):
            server.command("CLUSTER", "SETSLOT", slot, "NODE", self.node_id(target))


@contextmanager
def run_cluster() -> Iterator[RedisCluster]:
    """Three primaries, until the block ends."""
    with ExitStack() as stack:
        options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"]
        servers = [stack.enter_context(run_redis(*options, port=_port_with_a_bus())) for _ in range(3)]
        step = SLOTS // 3 + 1
        for index, server in enumerate(servers):
            server.command("CLUSTER", "ADDSLOTSRANGE", index * step, min(SLOTS, (index + 1) * step) - 1)
            server.command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
            servers[0].command("CLUSTER", "MEET", "127.0.0.1", server.port)
        for server in servers:
            poll(lambda server=server: server.command("CLUSTER", "INFO"), until=lambda it: b"cluster_state:ok" in it)  # type: ignore[misc]
        yield RedisCluster(servers)


def _port_with_a_bus() -> int:
    """A free port whose neighbour for the cluster's own traffic, higher by 10,000, is free, too."""
    while True:
        port = free_port()
        with socket.socket() as bus, suppress(OSError, OverflowError):
            bus.bind(("127.0.0.1", port + 10_000))
            return port
