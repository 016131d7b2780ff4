"""The HTTP routes of the operator, for a page or a script that has `CHAT_OPERATOR_KEY`."""

from accounts import Accounts
from bodies import Reply, answer_failures, body_of, has_key
from chat import Chat
from messages import Announcement, User
from presence import Presence
from pydantic import SecretStr
from quart import Blueprint, Response, current_app

from quart_wshub import CloseCode, WebSocketHub


def make_operator_page() -> Blueprint:
    """The page, which needs no key itself, but asks for it."""
    routes = Blueprint("operator_page", __name__)

    @routes.get("/operator")
    async def page() -> Response:
        return await current_app.send_static_file("operator.html")

    return routes


def make_operator_routes(
    key: SecretStr | None, *, hub: WebSocketHub, chat: Chat, accounts: Accounts, presence: Presence
) -> Blueprint:
    """The routes that the page calls."""
    routes = Blueprint("operator", __name__, url_prefix="/operator")
    answer_failures(routes)

    @routes.before_request
    async def check_key() -> Reply | None:
        if key is None:
            return {"error": "there is no operator: start the server with CHAT_OPERATOR_KEY set"}, 403
        if not has_key(key):
            return {"error": "wrong operator key: send Authorization: Bearer <CHAT_OPERATOR_KEY>"}, 401
        return None

    @routes.get("/overview")
    async def overview() -> Reply:
        connections = await hub.cluster.connection_count()
        return {**(await presence.overview()).model_dump(), "connections": connections.value}, 200

    @routes.post("/announce")
    async def announce() -> Reply:
        await chat.announce((await body_of(Announcement)).text)
        return {"connections": (await hub.cluster.connection_count()).value}, 200

    @routes.post("/disconnect")
    async def disconnect() -> Reply:
        """Close a user's sockets. The login stays valid, so they may connect again."""
        name = (await body_of(User)).name
        closed = await hub.disconnect(user_id=name, code=CloseCode.FORBIDDEN, reason="an operator disconnected you")
        return {"closed": closed}, 200

    @routes.post("/revoke")
    async def revoke() -> Reply:
        """End a user's logins, wherever they are, and close their sockets."""
        name = (await body_of(User)).name
        await accounts.revoke(name)  # first, so that new handshakes are refused
        return {"closed": await hub.revoke(name)}, 200

    return routes
