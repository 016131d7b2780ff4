"""Who is compared, how each is started, and what each can be asked for."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NODE = Path(__file__).resolve().parent / "peers" / "node"


@dataclass(frozen=True, slots=True)
class Peer:
    """One server. `command` has `{port}` where the port goes; `modules` must be importable."""

    name: str
    title: str
    command: tuple[str, ...]
    modules: tuple[str, ...] = ()
    only: frozenset[str] | None = None

    def arguments(self, port: int) -> list[str]:
        """The command line."""
        return [part.format(port=port) for part in self.command]

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


def _hypercorn(module: str) -> tuple[str, ...]:
    arguments = ("-m", "hypercorn", "-k", "trio", "-b", "127.0.0.1:{port}", f"benchmarks.peers.{module}:app")
    return (sys.executable, *arguments)


_OURS = ("quart_wshub", "hypercorn", "quart_trio")

PEERS = {
    peer.name: peer
    for peer in (
        Peer("wshub", "this project", _hypercorn("wshub_app"), _OURS),
        Peer("wshub-router", "this, MessageRouter", _hypercorn("wshub_router_app"), _OURS, only=frozenset({"inbound"})),
        Peer("tempest", "tempest-fastapi-sdk", _python("tempest_app"), ("tempest_fastapi_sdk", "uvicorn", "uvloop")),
        Peer("websockets", "websockets.broadcast", _python("websockets_app"), ("websockets", "uvloop")),
        Peer("picows", "picows", _python("picows_app"), ("picows", "uvloop")),
        Peer("node", "node ws", ("node", str(NODE / "server.js"), "{port}")),
        Peer("oswrite", "bare os.write", _python("oswrite_app"), only=frozenset({"fanout"})),
    )
}
