"""A chat over quart-wshub: one app serves the page, the login and the WebSocket.

In this folder: `hypercorn -k trio --bind 127.0.0.1:8000 app:app`, and open http://127.0.0.1:8000 in two tabs.

With `CHAT_OPERATOR_KEY=…` in the environment, an HTTP request reaches everybody:

    curl -H 'Authorization: Bearer …' -d '{"text": "Lunch!"}' http://127.0.0.1:8000/announce
"""

from datetime import timedelta

from chat import Chat
from quart_trio import QuartTrio
from routes import make_routes
from settings import ChatSettings

from quart_wshub import JWTUtils, WebSocketHub, jwt_bearer_resolver, make_websocket_blueprint

MAX_BODY_BYTES = 16 * 1024


def create_app(settings: ChatSettings) -> QuartTrio:
    """Wire it up."""
    hub = WebSocketHub(max_per_user=settings.WS_MAX_CONNECTIONS_PER_USER)
    tokens = JWTUtils(settings.CHAT_SECRET.get_secret_value(), lifetime=settings.CHAT_TOKEN_SECONDS)
    chat = Chat(hub)
    app = QuartTrio(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    # Browsers ask whether a file has changed: after an update nobody is left with half of the old page.
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = timedelta(0)
    app.register_blueprint(make_routes(chat, tokens, settings))
    app.register_blueprint(
        make_websocket_blueprint(chat.serve, hub=hub, bearer_resolver=jwt_bearer_resolver(tokens), settings=settings)
    )
    return app


app = create_app(ChatSettings())
