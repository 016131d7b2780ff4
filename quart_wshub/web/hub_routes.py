"""Which paths of an app lead to a hub: registered here, and looked up here by whoever can serve those faster."""

from __future__ import annotations

from functools import lru_cache
from operator import length_hint
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quart import Quart

__all__ = ["HubRoutes"]


class HubRoutes:
    """The hub routes of one app. A `HubPaths`.

    Attributes:
        websocket_class: the app's `asgi_websocket_class`, if that is made of Quart's own and the hub's only.
    """

    def __init__(self, app: Quart, websocket_class: type | None) -> None:
        self._app = app
        self.websocket_class: type | None = websocket_class
        self._endpoints: set[str] = set()
        self._leads_to_hub = lru_cache(maxsize=1024)(self._match)

    def add(self, endpoint: str) -> None:
        """Register the endpoint of a hub's view. Idempotent."""
        self._endpoints.add(endpoint)
        self._leads_to_hub.cache_clear()

    def serves(self, path: str) -> bool:
        """Whether Quart is sure to give a handshake for this path to a hub's view, after nothing but the app's hooks.

        The app's own URL map decides, by Quart's own precedence. Not sure where it also looks at the host, or where the
        app has a WebSocket class of its own, which may rely on being called. The app must not be below a `root_path`.
        """
        app = self._app
        if (
            app.asgi_websocket_class is not self.websocket_class
            or app.url_map.host_matching
            or app.subdomain_matching
            or app.config["SERVER_NAME"] is not None  # Quart then makes a subdomain of what is before it
            or not path.startswith("/")
        ):
            return False
        # Matching costs more than all the rest here. The number of rules tells whether one was added since.
        return self._leads_to_hub(path, length_hint(app.url_map.iter_rules()))

    def _match(self, path: str, _rules: int) -> bool:
        try:
            rule, _ = self._app.url_map.bind("").match(path, "GET", return_rule=True, websocket=True)
        except Exception:  # not found, say, or what a converter of the app's own raises: Quart will meet the same
            return False
        return rule.endpoint in self._endpoints
