"""The hub's delivery calls over HTTP, as an app's own routes would use them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import trio
from quart import Blueprint, request

from quart_wshub import WebSocketHub, WSEnvelope

__all__ = ["make_delivery_blueprint"]


def make_delivery_blueprint(hub: WebSocketHub) -> Blueprint:
    """`POST /hub/<method>` with the method's arguments as JSON; answers with what it returned."""
    blueprint = Blueprint("delivery", __name__, url_prefix="/hub")

    @blueprint.post("/send_to")
    async def send_to() -> dict[str, Any]:
        arguments = await request.get_json()
        return {"result": await hub.send_to(arguments["user_id"], WSEnvelope(**arguments["envelope"]))}

    @blueprint.post("/send_many")
    async def send_many() -> dict[str, Any]:
        arguments = await request.get_json()
        envelopes = {user_id: WSEnvelope(**fields) for user_id, fields in arguments["envelopes"].items()}
        return {"result": await hub.send_many(envelopes)}

    @blueprint.post("/broadcast")
    async def broadcast() -> dict[str, Any]:
        arguments = await request.get_json()
        exclude = arguments.get("exclude")
        reached = 0
        for _ in range(arguments.get("times", 1)):
            reached += await hub.broadcast(
                WSEnvelope(**arguments["envelope"]),
                topic=arguments.get("topic"),
                exclude=None if exclude is None else UUID(exclude),
            )
        return {"result": reached}

    @blueprint.post("/sequence")
    async def sequence() -> dict[str, Any]:
        """Publish numbered messages, one after the other, slowly enough for other publishers to come in between."""
        arguments = await request.get_json()
        for number in range(arguments["count"]):
            data = {"publisher": arguments["publisher"], "number": number}
            await hub.broadcast(WSEnvelope(type="numbered", data=data), topic=arguments["topic"])
            await trio.sleep(0.01)
        return {"result": arguments["count"]}

    @blueprint.post("/membership/<method>")
    async def membership(method: str) -> dict[str, Any]:
        arguments = await request.get_json()
        change = hub.subscribe if method == "subscribe" else hub.unsubscribe
        done = await change(UUID(arguments["connection_id"]), arguments["topic"])
        return {"result": done, "topic_count": hub.topic_count(arguments["topic"])}

    @blueprint.post("/disconnect")
    async def disconnect() -> dict[str, Any]:
        arguments = await request.get_json()
        if "connection_id" in arguments:
            arguments["connection_id"] = UUID(arguments["connection_id"])
        return {"result": await hub.disconnect(**arguments)}

    return blueprint
