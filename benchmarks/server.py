"""One peer's server: started on its own core, with the Redis it needs, and always ended."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from benchmarks.child import LOGS, ROOT, Child, free_port
from benchmarks.processes import CoreTime, core_time, resident_bytes, tree
from benchmarks.protocol import HEARTBEAT_VARIABLE, REDIS_VARIABLE, SECRET_VARIABLE, TIMEOUT_VARIABLE
from benchmarks.tokens import SECRET

if TYPE_CHECKING:
    from benchmarks.client import Address
    from benchmarks.measures.base import Nodes
    from benchmarks.peers_table import Peer

__all__ = ["GENERATOR_CORE", "LOGS", "SERVER_CORE", "Server"]

SERVER_CORE = 0
GENERATOR_CORE = 1
ALL_CORES = os.sched_getaffinity(0)

_REDIS = ("redis-server", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port")


class Server:
    """A context manager around the processes. Their output goes to `logs/<label>.log` and `logs/<label>-redis.log`."""

    def __init__(self, peer: Peer, label: str, *, heartbeat_seconds: int, nodes: Nodes | None = None) -> None:
        self.address: Address = ("127.0.0.1", free_port())
        self.dialect = peer.dialect
        self.redis_url = ""
        self._peer = peer
        self._label = label
        self._heartbeat_seconds = heartbeat_seconds
        self._nodes = nodes
        self._children: list[Child] = []

    def __enter__(self) -> Server:
        try:
            if self._nodes is not None and self._peer.redis:
                self._start_redis(pinned=self._nodes.pinned)
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def resident_bytes(self) -> int:
        """Resident memory of the server's processes."""
        return sum(resident_bytes(child.pid) for child in self._children)

    def core_time(self) -> CoreTime:
        """The core time of the server's processes so far, with Redis."""
        return core_time(process for child in self._children for process in tree(child.pid))

    def stop(self) -> None:
        """End everything, Redis last."""
        while self._children:
            self._children.pop().stop()

    def _start_redis(self, *, pinned: bool) -> None:
        port = free_port()
        cores = {GENERATOR_CORE} if pinned else ALL_CORES
        redis = Child((*_REDIS, str(port)), f"{self._label}-redis", cores=cores)
        self._children.append(redis)
        redis.wait_until_listening(("127.0.0.1", port))
        self.redis_url = f"redis://127.0.0.1:{port}/0"

    def _start(self) -> None:
        workers, pinned = (self._nodes.workers, self._nodes.pinned) if self._nodes else (1, True)
        arguments = self._peer.arguments(self.address[1], workers)
        cores = {SERVER_CORE} if pinned else ALL_CORES
        server = Child(arguments, self._label, cores=cores, environment=self._environment())
        self._children.append(server)
        server.wait_until_listening(self.address)

    def _environment(self) -> dict[str, str]:
        return {
            SECRET_VARIABLE: SECRET,
            HEARTBEAT_VARIABLE: str(self._heartbeat_seconds),
            TIMEOUT_VARIABLE: str(self._heartbeat_seconds + 3600),
            REDIS_VARIABLE: self.redis_url,
            "PYTHONPATH": str(ROOT),
            "NODE_ENV": "production",
        }
