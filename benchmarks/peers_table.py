"""The peers that are compared, how each is started, and which measures each takes part in."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.dialects import ENVELOPES, SOCKET_IO

if TYPE_CHECKING:
    from benchmarks.dialects import Dialect

NODE = Path(__file__).resolve().parent / "peers" / "node"


@dataclass(frozen=True, slots=True)
class Peer:
    """One server. `modules` must be importable.

    Attributes:
        command: with the placeholders `{port}` and `{workers}`.
        only: the kinds of measures it takes part in; `None` for all that it can.
        redis: whether it can run as several nodes over Redis.
    """

    name: str
    title: str
    command: tuple[str, ...]
    modules: tuple[str, ...] = ()
    only: frozenset[str] | None = None
    redis: bool = False
    dialect: Dialect = ENVELOPES

    def arguments(self, port: int, workers: int) -> list[str]:
        """The command line."""
        return [part.format(port=port, workers=workers) for part in self.command]

    def takes_part(self, kind: str, *, nodes: bool) -> bool:
        """Whether it takes part in a measure of that kind, with several nodes or without."""
        return kind in self.only if self.only is not None else self.redis or not nodes

    def missing(self) -> str | None:
        """Why this peer cannot run here, or `None`."""
        for module in self.modules:
            if find_spec(module) is None:
                return f"module {module} is not installed"
        if self.command[0] == "node":
            if shutil.which("node") is None:
                return "node is not installed"
            if not (NODE / "node_modules").is_dir():
                return "run `npm ci` in benchmarks/peers/node"
        return None


def _python(module: str) -> tuple[str, ...]:
    return (sys.executable, "-m", f"benchmarks.peers.{module}", "{port}")


_HYPERCORN = ("-m", "hypercorn", "-k", "trio", "-w", "{workers}", "-b", "127.0.0.1:{port}")
_WSHUB = (sys.executable, *_HYPERCORN, "benchmarks.peers.wshub_app:make_app()")
_WSHUB_ROOM = (sys.executable, *_HYPERCORN, "benchmarks.peers.wshub_app:make_app('/<room>')")
_WSHUB_WRAPPED = (sys.executable, *_HYPERCORN, "benchmarks.peers.wshub_app:copying_the_scope(make_app())")
_WSHUB_ROUTER = (sys.executable, *_HYPERCORN, "benchmarks.peers.wshub_router_app:app")
_WSHUB_MODULES = ("quart_wshub", "hypercorn", "quart_trio")
_NODES = frozenset({"latency", "throughput", "workers"})

PEERS = {
    peer.name: peer
    for peer in (
        Peer("wshub", "this project", _WSHUB, _WSHUB_MODULES, redis=True),
        Peer("wshub-memory", "this project, no broker", _WSHUB, _WSHUB_MODULES, only=frozenset({"throughput"})),
        Peer("wshub-router", "this, MessageRouter", _WSHUB_ROUTER, _WSHUB_MODULES, only=frozenset({"inbound"})),
        Peer("wshub-room", "this, variable path", _WSHUB_ROOM, _WSHUB_MODULES, only=frozenset({"handshakes"})),
        Peer("wshub-wrapped", "this, in middleware", _WSHUB_WRAPPED, _WSHUB_MODULES, only=frozenset({"handshakes"})),
        Peer("tempest", "tempest-fastapi-sdk", _python("tempest_app"), ("tempest_fastapi_sdk", "uvicorn", "uvloop")),
        Peer("websockets", "websockets.broadcast", _python("websockets_app"), ("websockets", "uvloop")),
        Peer("picows", "picows", _python("picows_app"), ("picows", "uvloop")),
        Peer("node", "node ws", ("node", str(NODE / "server.js"), "{port}")),
        Peer(
            "socketio",
            "python-socketio",
            (*_python("socketio_app"), "{workers}"),
            ("socketio", "redis", "uvicorn", "uvloop"),
            only=_NODES,
            redis=True,
            dialect=SOCKET_IO,
        ),
        Peer(
            "channels",
            "Django Channels",
            (*_python("channels_app"), "{workers}"),
            ("channels", "channels_redis", "daphne"),
            only=_NODES,
            redis=True,
        ),
        Peer("oswrite", "bare os.write", _python("oswrite_app"), only=frozenset({"fanout"})),
    )
}
