import os
from uuid import UUID
from quart_trio import QuartTrio
from quart_wshub import (
    JWTUtils, WSEnvelope, WebSocketConnection, WebSocketHub, WebSocketSettings, make_websocket_blueprint,
)

settings = WebSocketSettings()
hub = WebSocketHub(max_per_user=settings.WS_MAX_CONNECTIONS_PER_USER)
tokens = JWTUtils(secret=os.environ.get("APP_SECRET", "for-development-only-0123456789abcdef"), algorithm="HS256")

async def bearer_resolver(token: str) -> UUID | None:
    try:
        return UUID(tokens.decode(token)["sub"])
    except Exception:
        return None

async def handler(ws, connection: WebSocketConnection, hub: WebSocketHub) -> None:
    while True:
        envelope = WSEnvelope.model_validate(await ws.receive_json())
        if envelope.type == "subscribe":
            await hub.subscribe(connection.connection_id, envelope.data["topic"])
        elif envelope.type == "chat.message":
            await hub.broadcast(
                WSEnvelope(type="chat.message", data={"from": str(connection.user_id), "text": envelope.data["text"]}),
                topic=envelope.data["room"],
            )

app = QuartTrio(__name__)
app.register_blueprint(
    make_websocket_blueprint(handler, hub=hub, bearer_resolver=bearer_resolver, settings=settings, path="/ws")
)
