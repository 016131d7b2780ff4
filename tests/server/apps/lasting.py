"""A `MessageRouter` with JWTs, whose handlers and a route send requests to clients, for tests of clients."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pydantic import BaseModel
from quart import request
from quart_trio import QuartTrio

from quart_wshub import (
    MessageError,
    MessageRouter,
    RequestFailedError,
    RequestTimeoutError,
    WebSocketConnection,
    WebSocketHub,
    WebSocketSettings,
    WSEnvelope,
    WSHubError,
    jwt_bearer_resolver,
    make_websocket_blueprint,
)
from tests.server.apps.console import log_to_console
from tests.server.apps.handlers import echo
from tests.server.apps.introspection import make_introspection_blueprint
from tests.server.apps.resolvers import JWTS, resolve

__all__ = ["app", "messages"]

log_to_console()

settings = WebSocketSettings()
hub = WebSocketHub(max_per_user=settings.WS_MAX_CONNECTIONS_PER_USER)
messages = MessageRouter(authorize_subscribe=lambda connection, topic: True)


class Question(BaseModel):
    """The request to send to the client, and how long to wait for the reply."""

    type: str
    data: dict[str, Any] = {}
    timeout: float = 5


class Outcome(BaseModel):
    """The client's reply."""

    reply: dict[str, Any]


class Who(BaseModel):
    """Whose connection this is."""

    user: str
    connection_id: UUID


@messages.on("who")
async def who(message: WSEnvelope, connection: WebSocketConnection) -> Who:
    """Tell the client who it is."""
    return Who(user=str(connection.user_id), connection_id=connection.connection_id)


async def ask(message: Question, connection: WebSocketConnection, hub: WebSocketHub) -> Outcome:
    """Send the client a request."""
    question = WSEnvelope(type=message.type, data=message.data)
    return Outcome(reply=(await hub.request(connection.connection_id, question, message.timeout)).data)


messages.on("ask")(ask)
messages.on("ask.aside", concurrent=True)(ask)


@messages.on_error(RequestFailedError)
def tell_failure(error: RequestFailedError, connection: WebSocketConnection) -> MessageError:
    return MessageError(error.code, error.message)


@messages.on_error(RequestTimeoutError)
def tell_timeout(error: RequestTimeoutError, connection: WebSocketConnection) -> MessageError:
    return MessageError("no_reply", str(error))


app = QuartTrio(__name__)
app.register_blueprint(make_introspection_blueprint(hub))
app.register_blueprint(
    make_websocket_blueprint(messages, hub=hub, bearer_resolver=jwt_bearer_resolver(JWTS), settings=settings)
)
app.register_blueprint(
    make_websocket_blueprint(echo, hub=hub, bearer_resolver=resolve, settings=settings, path="/echo", name="echo")
)


@app.post("/ask")
async def ask_from_a_route() -> dict[str, Any]:
    arguments = await request.get_json()
    try:
        reply = await hub.request(UUID(arguments["connection_id"]), WSEnvelope(**arguments["envelope"]), 5)
    except WSHubError as error:
        return {"result": f"{type(error).__name__}: {error}"}
    return {"result": reply.data}
