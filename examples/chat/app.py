"""A chat on quart-wshub: one app serves the pages, the login and the WebSocket. `README.md` says how to run it."""

from datetime import timedelta

from accounts import Accounts
from chat import Chat
from operator_routes import make_operator_page, make_operator_routes
from presence import Presence
from quart_trio import QuartTrio
from routes import make_routes
from settings import ChatSettings
from store import MemoryStore, Store

from quart_wshub import WebSocketHub, make_websocket_blueprint

MAX_BODY_BYTES = 16 * 1024


def make_backends(settings: ChatSettings) -> tuple[WebSocketHub, Store]:
    """A hub and a store, for one process or, with Redis, for several."""
    max_per_user, login_seconds = settings.WS_MAX_CONNECTIONS_PER_USER, settings.CHAT_LOGIN_SECONDS
    if settings.CHAT_REDIS_URL is None:
        return WebSocketHub(max_per_user=max_per_user), MemoryStore(login_seconds)
    from redis_store import RedisStore

    from quart_wshub.broker.redis import RedisBroker

    url = settings.CHAT_REDIS_URL.get_secret_value()
    return WebSocketHub(max_per_user=max_per_user, broker=RedisBroker(url)), RedisStore(url, login_seconds)


def create_app(settings: ChatSettings) -> QuartTrio:
    """Make the app."""
    hub, store = make_backends(settings)
    accounts = Accounts(settings, store)
    presence = Presence(hub, store)
    chat = Chat(hub, store, presence)
    app = QuartTrio(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    # Browsers then check for changes, so that after an update no page mixes old and new files.
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = timedelta(0)
    app.register_blueprint(make_routes(accounts, presence))
    app.register_blueprint(make_operator_page())
    app.register_blueprint(
        make_operator_routes(settings.CHAT_OPERATOR_KEY, hub=hub, chat=chat, accounts=accounts, presence=presence)
    )
    app.register_blueprint(
        make_websocket_blueprint(chat.messages, hub=hub, bearer_resolver=accounts.resolve, settings=settings)
    )
    return app


app = create_app(ChatSettings())
