"""One node of the tests over several servers: a hub on the Redis that the environment names."""

from __future__ import annotations

import logging
import os
from typing import Any
from uuid import UUID

from quart import request
from quart_trio import QuartTrio

from quart_wshub import (
    WebSocket,
    WebSocketConnection,
    WebSocketHub,
    WebSocketSettings,
    WSEnvelope,
    make_websocket_blueprint,
)
from quart_wshub.broker.redis import RedisBroker
from tests.server.apps.delivery import make_delivery_blueprint
from tests.server.apps.handlers import chat, echo
from tests.server.apps.introspection import make_introspection_blueprint
from tests.server.apps.resolvers import resolve

__all__ = ["app"]

console = logging.StreamHandler()
console.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
logging.getLogger("quart_wshub").addHandler(console)
logging.getLogger("quart_wshub").setLevel(logging.INFO)
logging.getLogger("quart_wshub").propagate = False

settings = WebSocketSettings()
broker = RedisBroker(os.environ["TEST_REDIS_URL"], timeout=2, beat=0.3, max_backoff=0.3)
hub = WebSocketHub(max_per_user=settings.WS_MAX_CONNECTIONS_PER_USER, broker=broker)


async def talk(ws: WebSocket, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    """Subscribe to the topics named in the handshake, tell when that is done, and publish what is said, in order."""
    for topic in ws.args["topics"].split(","):
        await hub.subscribe(connection.connection_id, topic)
    await ws.send_json({"type": "joined", "data": {"topics": sorted(connection.topics)}})
    async for message in ws:
        said = WSEnvelope.decode(str(message))
        await hub.broadcast(WSEnvelope(type="said", data=said.data), topic=said.data["topic"])


app = QuartTrio(__name__)
app.register_blueprint(make_introspection_blueprint(hub))
app.register_blueprint(make_delivery_blueprint(hub))
for path, handler in {"/ws": chat, "/echo": echo, "/talk": talk}.items():
    app.register_blueprint(
        make_websocket_blueprint(
            handler,
            hub=hub,
            bearer_resolver=resolve,
            settings=settings,
            path=path,
            name=f"wshub{path[1:]}",
            ready_path="/ready" if path == "/ws" else None,
        )
    )


@app.get("/cluster")
async def cluster() -> dict[str, Any]:
    """What all nodes together hold."""
    users = await hub.cluster.online_users()
    count = await hub.cluster.connection_count()
    topic = await hub.cluster.topic_count(request.args.get("topic", "news"))
    return {
        "users": sorted(map(str, users.value)),
        "connections": count.value,
        "topic": topic.value,
        "missing": [users.missing, count.missing, topic.missing],
        "node": broker.node_id,
        "channels": broker.statistics().channels,
    }


@app.post("/hub/revoke")
async def revoke() -> dict[str, Any]:
    return {"result": await hub.revoke(**await request.get_json())}


@app.post("/hub/request")
async def ask() -> dict[str, Any]:
    arguments = await request.get_json()
    reply = await hub.request(UUID(arguments["connection_id"]), WSEnvelope(**arguments["envelope"]), timeout=5)
    return {"result": reply.model_dump()}
