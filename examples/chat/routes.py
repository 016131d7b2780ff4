"""The public HTTP routes: the page and the login."""

from accounts import Accounts, LoginRefusedError
from bodies import Reply, answer_failures, bearer, body_of
from messages import Login
from presence import Presence
from quart import Blueprint, Response, current_app

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def make_routes(accounts: Accounts, presence: Presence) -> Blueprint:
    """The page, the login, and its renewal."""
    routes = Blueprint("routes", __name__)
    answer_failures(routes)

    @routes.get("/")
    async def page() -> Response:
        return await current_app.send_static_file("index.html")

    @routes.post("/login")
    async def login() -> Reply:
        """Log in with a name that nobody online has."""
        name = (await body_of(Login)).name
        if await presence.is_online(name):
            return {"error": f"{name} is taken by somebody who is online"}, 409
        return {"name": name, "login": accounts.log_in(name)}, 200

    @routes.post("/token")
    async def token() -> Reply:
        """A token for a login."""
        return {"token": await accounts.renew(bearer())}, 200

    @routes.errorhandler(LoginRefusedError)
    async def refuse_login(error: LoginRefusedError) -> Reply:
        return {"error": str(error)}, 401

    @routes.after_app_request
    async def secure(response: Response) -> Response:
        response.headers.update(SECURITY_HEADERS)
        return response

    return routes
