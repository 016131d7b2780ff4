"""The hub's broker runs with the app: from before it serves until after its sockets are gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from quart import current_app

if TYPE_CHECKING:
    from quart import Blueprint
    from quart_trio import QuartTrio

    from quart_wshub.hub.runtime import HubRuntime

__all__ = ["run_with_app"]

START_SECONDS = 2.0
"""How long the app's start waits for the broker. Who connects before it is there is told of a gap for nothing."""


def run_with_app(blueprint: Blueprint, runtime: HubRuntime) -> None:
    """Have the hub's broker run in the app's lifespan; several blueprints may share a hub."""
    cluster = runtime.cluster
    if cluster is None:
        return

    async def start() -> None:
        app = cast("QuartTrio", current_app)
        await app.nursery.start(cluster.run)
        await cluster.connected(START_SECONDS)

    # Shutting down, Quart-Trio waits up to five seconds for what runs in the app's nursery.
    blueprint.before_app_serving(start)
    blueprint.after_app_serving(cluster.stop)
