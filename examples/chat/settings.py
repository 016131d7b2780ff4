"""What an operator can set, on top of the hub's own settings: from the environment or a `.env` file."""

import secrets
from typing import Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from quart_wshub import WebSocketSettings


def _random_secret() -> SecretStr:
    return SecretStr(secrets.token_urlsafe(32))


class ChatSettings(WebSocketSettings):
    """The hub's settings and the chat's.

    Attributes:
        CHAT_SECRET: signs the tokens; at least 32 bytes. If it is not set, every start makes a new one, and everybody
            has to log in again. Several workers need the same.
        CHAT_OPERATOR_KEY: unlocks the operator's page and its routes; without it they are off.
        CHAT_LOGIN_SECONDS: how long a login lasts.
        CHAT_TOKEN_SECONDS: how long the token of a socket lasts. The page renews it over the open socket.
        CHAT_REDIS_URL: the Redis through which several processes form one chat.
    """

    # The error of a model validator would otherwise show all settings, secrets included.
    model_config = SettingsConfigDict(hide_input_in_errors=True)

    CHAT_SECRET: SecretStr = Field(default_factory=_random_secret)
    CHAT_OPERATOR_KEY: SecretStr | None = Field(default=None, min_length=1)
    CHAT_LOGIN_SECONDS: float = Field(default=12 * 60 * 60, gt=0, allow_inf_nan=False)
    CHAT_TOKEN_SECONDS: float = Field(default=5 * 60, gt=0, allow_inf_nan=False)
    CHAT_REDIS_URL: SecretStr | None = None

    @model_validator(mode="after")
    def _check_secret(self) -> Self:
        if self.CHAT_REDIS_URL is not None and "CHAT_SECRET" not in self.model_fields_set:
            msg = "CHAT_REDIS_URL is set, so CHAT_SECRET must be too: every process has to accept the others' tokens"
            raise ValueError(msg)
        return self
