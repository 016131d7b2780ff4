"""What a server process holds: hub, tasks and descriptors, over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
from quart import Blueprint

from quart_wshub.hub.websocket_hub import runtime_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quart_wshub import WebSocketHub

__all__ = ["live_tasks", "make_introspection_blueprint"]


def make_introspection_blueprint(hub: WebSocketHub | None = None) -> Blueprint:
    blueprint = Blueprint("introspection", __name__)

    @blueprint.get("/introspect")
    async def introspect() -> dict[str, Any]:
        return {
            "tasks": sum(1 for _ in live_tasks()),
            "descriptors": _open_descriptors(),
            **({} if hub is None else _contents(hub)),
        }

    return blueprint


def _contents(hub: WebSocketHub) -> dict[str, Any]:
    statistics = hub.statistics()
    return {
        "connections": statistics.connections,
        "users": statistics.users,
        "topics": statistics.topics,
        "closed": {str(int(code)): count for code, count in statistics.closed.items()},
        "online": sorted(map(str, hub.online_users())),
        "connection_count": hub.connection_count(),
        "queued_messages": sum(member.statistics().queued_messages for member in runtime_of(hub).registry.everyone()),
    }


def _open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def live_tasks() -> Iterator[trio.lowlevel.Task]:
    """Every task of this process's Trio run."""
    waiting = [trio.lowlevel.current_root_task()]
    while waiting:
        task = waiting.pop()
        if task is not None:
            yield task
            waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
