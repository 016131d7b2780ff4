"""What an operator can set, on top of the hub's own settings: from the environment or a `.env` file."""

import secrets

from pydantic import Field, SecretStr

from quart_wshub import WebSocketSettings


def _random_secret() -> SecretStr:
    return SecretStr(secrets.token_urlsafe(32))


class ChatSettings(WebSocketSettings):
    """The hub's settings and the chat's.

    Attributes:
        CHAT_SECRET: signs the tokens; at least 32 bytes. Made up at every start where it is not set, which is
            enough for one worker: after a restart the page quietly logs in again. Several need the same.
        CHAT_OPERATOR_KEY: who has it may announce something to everyone; without it `POST /announce` is off.
        CHAT_TOKEN_SECONDS: how long a login lasts.
    """

    CHAT_SECRET: SecretStr = Field(default_factory=_random_secret)
    CHAT_OPERATOR_KEY: SecretStr | None = None
    CHAT_TOKEN_SECONDS: float = Field(default=12 * 60 * 60, gt=0, allow_inf_nan=False)
