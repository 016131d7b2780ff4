"""`WebSocketSettings`: every setting, as a pydantic-settings mixin.

Environment and `.env` names are the field names. A bad value raises pydantic's `ValidationError` at construction,
which names the variable, the value and the bound.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

__all__ = ["WebSocketSettings"]

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Rate = Seconds
Count = Annotated[int, Field(ge=1)]

_ORIGIN = re.compile(r"null|[a-z][a-z0-9+.-]*://[^/?#\s]+", re.IGNORECASE)


class WebSocketSettings(BaseSettings):
    """Settings of one blueprint. Mix it into an app's own: ``class Settings(WebSocketSettings, BaseSettings)``.

    Durations are in seconds, sizes in bytes.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_file=".env", extra="ignore")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Keep `.env` for a subclass that names no file: pydantic takes the config of the last base, which is
        `BaseSettings`, and that reads no file.
        """
        super().__init_subclass__(**kwargs)
        config = cls.model_config
        if config.get("env_file") is None:
            config["env_file"] = ".env"
            if config.get("extra") == "forbid":
                config["extra"] = "ignore"

    WS_HEARTBEAT_SECONDS: Seconds = 30.0
    """Time between two application pings."""

    WS_HEARTBEAT_TIMEOUT_SECONDS: Annotated[Seconds, Field(validate_default=True)] = 60.0
    """A peer silent for this long is closed with 4408; must be more than `WS_HEARTBEAT_SECONDS`."""

    WS_MAX_CONNECTIONS_PER_USER: Count = 5
    """For `WebSocketHub(max_per_user=…)`: one more connection closes the user's oldest with 4429."""

    WS_MAX_MESSAGE_BYTES: Count = 65536
    """Largest inbound message, in bytes of the reassembled, decompressed payload; more is closed with 1009."""

    WS_MAX_CONNECTIONS: Count | None = None
    """Authenticated connections this node accepts at a time; beyond that HTTP 503. `None`: no limit."""

    WS_MAX_PENDING_HANDSHAKES: Count = 1000
    """Handshakes whose token is being looked at; beyond that HTTP 503. As many refused ones may be closing; beyond
    that the oldest of these is aborted."""

    WS_MAX_TOPICS_PER_CONNECTION: Count = 128
    """Topics one connection may be subscribed to."""

    WS_MAX_TOPIC_LENGTH: Count = 256
    """Characters in the name of a topic that a client may subscribe to at a `MessageRouter`."""

    WS_RATE_LIMIT_PER_SECOND: Rate | None = None
    """Messages a client may send to a `MessageRouter` per second on average. `None`: no limit."""

    WS_RATE_LIMIT_BURST: Count | None = None
    """Messages it may send at once before that limit applies. `None`: those of one second, at least 1."""

    WS_MAX_BAD_MESSAGES: Count = 20
    """Bad messages that a `MessageRouter` refuses before it closes with 1008; the allowance refills within a minute."""

    WS_MAX_CONCURRENT_MESSAGES: Count = 16
    """Messages of one connection that ``concurrent=True`` handlers of a `MessageRouter` handle at a time."""

    WS_SEND_QUEUE_MESSAGES: Count = 1024
    """Messages that may wait for one slow peer; beyond that it is closed with 1013."""

    WS_SEND_QUEUE_BYTES: Count = 1024 * 1024
    """Bytes that may wait for one slow peer; beyond that it is closed with 1013."""

    WS_AUTH_TIMEOUT_SECONDS: Seconds = 10.0
    """How long the bearer resolver may take; more is closed with 1011."""

    WS_CLOSE_TIMEOUT_SECONDS: Seconds = 5.0
    """How long a closing handshake may take, and how long a handler may continue after its peer has left."""

    WS_EXPIRY_NOTICE_SECONDS: Seconds = 30.0
    """How long before its token expires a client is sent `auth.expiring`, if that is enabled."""

    WS_ALLOWED_ORIGINS: Annotated[tuple[str, ...] | None, NoDecode] = None
    """Origins a browser may connect from, e.g. ``https://app.example.com``; comma separated in the environment,
    or a JSON list. `None` or ``*``: any. Clients that send no `Origin` are not browsers and always pass."""

    WS_ALLOW_QUERY_TOKEN: bool = True
    """Whether a token is accepted in the query, as `?token=`."""

    WS_REJECT_WITH_HTTP: bool = False
    """Refuse bad tokens with HTTP 401 before the upgrade, instead of accepting and closing with 4401."""

    WS_HELLO: bool = True
    """Whether the first message on every socket is the `hello` envelope."""

    WS_TRANSPORT: Literal["auto", "asgi"] = "auto"
    """`auto` takes over the socket if the server is a tested version of hypercorn; `asgi` never does."""

    WS_COMPRESSION: bool = False
    """Accept `permessage-deflate` for what clients send. Native transport only; plain ASGI leaves it to the server."""

    @field_validator("WS_ALLOWED_ORIGINS", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if value.strip().startswith("["):
            return json.loads(value)
        return tuple(part.strip() for part in value.split(","))

    @field_validator("WS_ALLOWED_ORIGINS")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if origins is None or origins == ("*",):
            return None
        for origin in origins:
            if not _ORIGIN.fullmatch(origin):
                msg = f"{origin!r} is not an origin: use scheme://host[:port] without a path, or * alone for any"
                raise ValueError(msg)
        return tuple(origin.lower() for origin in origins)

    # A validator of the field, not of the model, whose error would show all settings, an app's secrets included.
    @field_validator("WS_HEARTBEAT_TIMEOUT_SECONDS")
    @classmethod
    def _check_heartbeat(cls, timeout: float, info: ValidationInfo) -> float:
        interval = info.data.get("WS_HEARTBEAT_SECONDS")
        if interval is not None and timeout <= interval:
            msg = f"WS_HEARTBEAT_TIMEOUT_SECONDS={timeout:g} must be greater than WS_HEARTBEAT_SECONDS={interval:g}"
            raise ValueError(msg)
        return timeout
