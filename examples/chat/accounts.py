"""Logins and tokens.

A login lasts for hours. The page keeps it, and exchanges it over HTTP for tokens that last for minutes, which open the
socket and keep it open: what is sent with every connection soon expires.

There are no passwords: a real app checks them before it logs a user in.
"""

import time
from typing import Any

import jwt
from settings import ChatSettings
from store import Store

from quart_wshub import Identity, JWTUtils

SINCE = "since"
"""The claim with the time of the login, in seconds since 1970, with fractions."""


class LoginRefusedError(Exception):
    """The login is not valid any more; the text is for its owner."""


class Accounts:
    """Issues, exchanges and checks tokens. `resolve` is the blueprint's bearer resolver."""

    def __init__(self, settings: ChatSettings, store: Store) -> None:
        secret = settings.CHAT_SECRET.get_secret_value()
        # With the audience, neither kind is accepted in place of the other.
        self._logins = JWTUtils(secret, audience="chat-login", lifetime=settings.CHAT_LOGIN_SECONDS)
        self._tokens = JWTUtils(secret, audience="chat-socket", lifetime=settings.CHAT_TOKEN_SECONDS)
        self._store = store

    def log_in(self, name: str) -> str:
        """A new login of this name."""
        return self._logins.encode(name, claims={SINCE: time.time()})

    async def renew(self, login: str) -> str:
        """A token for a login.

        Raises:
            LoginRefusedError: it is expired, revoked or invalid.
        """
        try:
            claims = self._logins.decode(login)
        except jwt.PyJWTError:
            msg = "Your login has expired."
            raise LoginRefusedError(msg) from None
        if await self._is_revoked(claims):
            msg = "An operator ended your login."
            raise LoginRefusedError(msg)
        return self._tokens.encode(claims["sub"], claims={SINCE: claims[SINCE]})

    async def resolve(self, token: str) -> Identity | None:
        """Whose token it is; `None` if it is expired, revoked or invalid.

        Raises:
            StoreUnavailableError: that cannot be checked at the moment; the socket closes with a code to retry.
        """
        try:
            claims = self._tokens.decode(token)
        except jwt.PyJWTError:
            return None
        if await self._is_revoked(claims):
            return None
        return Identity(claims["sub"], expires_at=self._tokens.expires_at(claims))

    async def revoke(self, name: str) -> None:
        """Revoke all logins and tokens that a user has now."""
        await self._store.revoke(name)

    async def _is_revoked(self, claims: dict[str, Any]) -> bool:
        since: float = claims[SINCE]
        return since <= await self._store.revoked_at(claims["sub"])
