"""The AsyncAPI document beside the socket, at `<path>/asyncapi.json`."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from quart import Blueprint, Response, request

from quart_wshub.description.asyncapi import AsyncAPIOptions, asyncapi
from quart_wshub.description.catalog import Described
from quart_wshub.protocol.errors import ConfigurationError

if TYPE_CHECKING:
    from quart_wshub.settings import WebSocketSettings

__all__ = ["add_asyncapi_route"]

FILE = "asyncapi.json"

CONTENT_TYPE = "application/vnd.aai.asyncapi+json;version=3.0.0"
"""The document's media type, by the specification."""

HEADERS = {
    # It changes when the app does, so a copy is to be checked, which costs a 304.
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
}


def add_asyncapi_route(
    blueprint: Blueprint,
    path: str,
    messages: object,
    settings: WebSocketSettings,
    options: bool | AsyncAPIOptions,
) -> None:
    """Serve the document below `path`, to anyone, unless `options` is `False`.

    Raises:
        ConfigurationError: `messages` is no `MessageRouter`, or the options are none. When the app starts: a model
            has no JSON schema.
    """
    if options is False:
        return
    if not isinstance(messages, Described):
        msg = f"serve_asyncapi needs a MessageRouter in the handler's place: what {messages!r} takes is not declared"
        raise ConfigurationError(msg)
    document = _Document(messages, settings, _checked(options))
    blueprint.add_url_rule(f"{path.rstrip('/')}/{FILE}", "asyncapi", document.serve)

    async def check() -> None:
        document.content(path)

    # Every handler is registered by then, and what cannot be described is better found at the start.
    blueprint.before_app_serving(check)


def _checked(options: bool | AsyncAPIOptions) -> AsyncAPIOptions:
    chosen: AsyncAPIOptions = {} if isinstance(options, bool) else options
    unknown = sorted(set(chosen) - set(AsyncAPIOptions.__annotations__))
    if unknown:
        msg = f"serve_asyncapi has unknown options {unknown}: use {sorted(AsyncAPIOptions.__annotations__)}"
        raise ConfigurationError(msg)
    return chosen


class _Document:
    """One router's document, under each address that its blueprint is registered at."""

    def __init__(self, messages: Described, settings: WebSocketSettings, options: AsyncAPIOptions) -> None:
        self._messages = messages
        self._settings = settings
        self._options = options
        self._contents: dict[str, tuple[bytes, str]] = {}

    def content(self, path: str) -> tuple[bytes, str]:
        """The document and its tag."""
        if path not in self._contents:
            document = asyncapi(self._messages, path=path, settings=self._settings, **self._options)
            content = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")
            self._contents[path] = content, hashlib.sha256(content).hexdigest()[:32]
        return self._contents[path]

    async def serve(self, **path_params: Any) -> Response:
        """The view."""
        assert request.url_rule is not None
        # The rule, not the path: its variable parts stay variable, and there are only so many rules.
        content, etag = self.content(request.url_rule.rule.removesuffix(f"/{FILE}") or "/")
        response = Response(content, 200, HEADERS, content_type=CONTENT_TYPE)
        response.set_etag(etag)
        return await response.make_conditional(request)
