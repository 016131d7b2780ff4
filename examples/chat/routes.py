"""The HTTP side: the page, the login, and the operator's announcement."""

import hmac
from typing import TypeVar

from chat import Chat
from messages import Announcement, Login, explain
from pydantic import BaseModel, ValidationError
from quart import Blueprint, Response, current_app, request
from settings import ChatSettings

from quart_wshub import JWTUtils

M = TypeVar("M", bound=BaseModel)

Reply = tuple[dict[str, object], int]

CONTENT_SECURITY_POLICY = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class InvalidBodyError(Exception):
    """The body is not what the route takes; the text says why."""


def make_routes(chat: Chat, tokens: JWTUtils, settings: ChatSettings) -> Blueprint:
    """Everything but the WebSocket."""
    routes = Blueprint("routes", __name__)
    operator_key = settings.CHAT_OPERATOR_KEY

    @routes.get("/")
    async def page() -> Response:
        return await current_app.send_static_file("index.html")

    @routes.post("/login")
    async def login() -> Reply:
        """A token for a name nobody online has. No passwords here: a real app first checks who this is."""
        name = (await _body(Login)).name
        if chat.is_online(name):
            return {"error": f"{name} is taken by somebody who is online"}, 409
        return {"token": tokens.encode(name), "name": name}, 200

    @routes.post("/announce")
    async def announce() -> Reply:
        if operator_key is None:
            return {"error": "announcements are off: start the server with CHAT_OPERATOR_KEY set"}, 403
        expected = f"Bearer {operator_key.get_secret_value()}"
        if not hmac.compare_digest(request.headers.get("Authorization", "").encode(), expected.encode()):
            return {"error": "wrong operator key: send Authorization: Bearer <CHAT_OPERATOR_KEY>"}, 401
        return {"delivered": await chat.announce((await _body(Announcement)).text)}, 200

    @routes.errorhandler(InvalidBodyError)
    async def refuse_body(error: InvalidBodyError) -> Reply:
        return {"error": str(error)}, 422

    @routes.after_app_request
    async def secure(response: Response) -> Response:
        response.headers.update(SECURITY_HEADERS)
        return response

    return routes


async def _body(model: type[M]) -> M:
    try:
        return model.model_validate_json(await request.get_data())
    except ValidationError as error:
        raise InvalidBodyError(explain(error)) from None
