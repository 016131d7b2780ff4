"""JSON Web Tokens: `JWTUtils` issues and verifies them, `jwt_bearer_resolver` makes a bearer resolver of one.

A bad key or option is refused by the constructor, so a failing `decode` always means a bad token. `cryptography` is
imported only if an asymmetric algorithm needs it.
"""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import jwt as pyjwt

from quart_wshub.auth.identity import BearerResolver, Identity, UserId
from quart_wshub.auth.jwt_keys import load_keys
from quart_wshub.protocol.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["JWTUtils", "jwt_bearer_resolver"]

_SET_BY_ENCODE = frozenset({"sub", "iat", "exp", "iss", "aud"})

_LONGEST_SECONDS = 100 * 365 * 86400
"""The longest lifetime or leeway is a century; anything longer was not meant in seconds."""

_LATEST_TIMESTAMP = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp())


class JWTUtils:
    """Issues and verifies tokens of one algorithm. Immutable; may be shared between tasks and threads.

    Args:
        secret: for HS256, HS384 and HS512 the shared key, at least 32, 48 or 64 bytes (a `str` counts as
            UTF-8); for RS*, PS*, ES* and EdDSA the private key as PEM, or the public one, which cannot sign.
        algorithm: the only one that is used and accepted, whatever a token's header says.
        public_key: for asymmetric algorithms the public key as PEM. Seldom needed: a private key implies it.
        issuer: the `iss` of issued tokens, and the only one that is accepted.
        audience: the `aud` of issued tokens; accepted tokens must have at least one of these. If it is `None`, tokens
            with an audience are refused.
        leeway: seconds by which the clocks of issuer and verifier may differ; at least 0.
        lifetime: seconds from `encode` to `exp`.
        require: claims a token must have. Without ``"exp"``, tokens that never expire are accepted.

    Raises:
        ConfigurationError: an argument cannot work. The text says what to do, and holds no part of a key.
    """

    __slots__ = ("_algorithm", "_audience", "_issuer", "_keys", "_leeway", "_lifetime", "_require")

    def __init__(
        self,
        secret: str | bytes,
        algorithm: str = "HS256",
        *,
        public_key: str | bytes | None = None,
        issuer: str | None = None,
        audience: str | Sequence[str] | None = None,
        leeway: float = 0,
        lifetime: float = 3600,
        require: Sequence[str] = ("exp", "sub"),
    ) -> None:
        self._keys = load_keys(algorithm, secret, public_key)
        self._algorithm = algorithm
        self._issuer = _checked_issuer(issuer)
        self._audience = _checked_audience(audience)
        self._leeway = _checked_leeway(leeway)
        self._lifetime = _checked_lifetime(lifetime, ConfigurationError)
        self._require = _checked_names("require", require)

    def __repr__(self) -> str:
        return f"<JWTUtils {self._algorithm} issuer={self._issuer!r} audience={self._audience!r}>"

    def encode(self, subject: UserId, *, lifetime: float | None = None, claims: Mapping[str, Any] | None = None) -> str:
        """Issue a token.

        Args:
            subject: the user; `sub` is its `str`.
            lifetime: seconds until the token expires, rounded up to a whole second. Default: as constructed.
            claims: further claims, of JSON types.

        Raises:
            UsageError: there is only a public key, or an argument cannot go into a token.
        """
        if self._keys.signing is None:
            raise UsageError("this JWTUtils can only verify: encode() needs the private key as secret")
        if isinstance(subject, bool) or not isinstance(subject, UserId) or subject == "":
            raise UsageError(f"subject must be a UUID, an int or a non-empty str, not {type(subject).__name__}")
        claims = claims or {}
        if clash := sorted(_SET_BY_ENCODE.intersection(claims)):
            raise UsageError(
                f"claims may not have {', '.join(clash)}: encode() and JWTUtils() have arguments for those"
            )
        seconds = self._lifetime if lifetime is None else _checked_lifetime(lifetime, UsageError)
        now = time.time()
        payload = {**claims, "sub": str(subject), "iat": int(now), "exp": math.ceil(now + seconds)}
        if self._issuer is not None:
            payload["iss"] = self._issuer
        if self._audience is not None:
            payload["aud"] = self._audience
        try:
            return pyjwt.encode(payload, self._keys.signing, self._algorithm)
        except (TypeError, ValueError) as error:
            raise UsageError(f"claims must be JSON: {error}") from None

    def decode(self, token: str) -> dict[str, Any]:
        """Verify a token and return its claims.

        Raises:
            jwt.PyJWTError: the token is malformed, expired, not yet valid, or of another issuer or audience. Nothing
                else is raised, whatever the token.
        """
        try:
            claims: dict[str, Any] = pyjwt.decode(
                token,
                self._keys.verifying,
                algorithms=[self._algorithm],
                options={"require": list(self._require)},
                issuer=self._issuer,
                audience=self._audience,
                leeway=self._leeway,
            )
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            # Not every PyJWT wraps all of these. Keys and options were checked by the constructor, so the token is
            # at fault; the text of `error` may quote it.
            raise pyjwt.DecodeError(f"token is malformed ({type(error).__name__})") from None
        self._check_expiry(claims)
        return claims

    def _check_expiry(self, claims: dict[str, Any]) -> None:
        """PyJWT also accepts an `exp` that is text, or a time that no `datetime` can hold."""
        expiry = claims.get("exp")
        if expiry is None:
            return
        if isinstance(expiry, bool) or not isinstance(expiry, (int, float)):
            raise pyjwt.DecodeError("exp must be a number")
        if expiry > _LATEST_TIMESTAMP - self._leeway:
            raise pyjwt.DecodeError("exp is beyond the year 9999; it counts seconds, not milliseconds")

    def expires_at(self, claims: Mapping[str, Any]) -> datetime | None:
        """When the token of these claims expires, leeway included, in UTC; `None`: never."""
        if claims.get("exp") is None:
            return None
        return datetime.fromtimestamp(int(claims["exp"]) + self._leeway, UTC)


def jwt_bearer_resolver(jwt: JWTUtils, *, user_id: Callable[[str], UserId] = str) -> BearerResolver:
    """A bearer resolver that accepts the tokens that `jwt` accepts, and returns their expiry and claims too.

    Args:
        jwt: verifies the tokens.
        user_id: from `sub` to the user, such as `uuid.UUID` or `int`. Called in the event loop, so it may not
            block. A `ValueError` means that the subject is not a user (4401); anything else it raises is the server's
            failure (1011).
    """

    async def resolve_jwt(token: str) -> Identity | None:
        try:
            claims = jwt.decode(token)
        except pyjwt.PyJWTError:
            return None
        subject = claims.get("sub")
        if not subject:
            return None
        try:
            user = user_id(subject)
        except ValueError:
            return None
        return Identity(user, expires_at=jwt.expires_at(claims), claims=claims)

    return resolve_jwt


def _checked_issuer(issuer: str | None) -> str | None:
    return None if issuer is None else _checked_names("issuer", (issuer,))[0]


def _checked_audience(audience: str | Sequence[str] | None) -> str | list[str] | None:
    if audience is None:
        return None
    if isinstance(audience, str):
        return _checked_names("audience", (audience,))[0]
    names = _checked_names("audience", audience)
    if not names:
        raise ConfigurationError("audience is empty, so no token could ever be valid: use None for no audience")
    return list(names)


def _checked_names(name: str, values: Sequence[str]) -> tuple[str, ...]:
    if isinstance(values, str) or not all(isinstance(value, str) and value for value in values):
        raise ConfigurationError(f"{name}={values!r} must be made of strings that are not empty")
    return tuple(values)


def _checked_leeway(seconds: float) -> float:
    if not _is_number(seconds) or not 0 <= seconds <= _LONGEST_SECONDS:
        raise ConfigurationError(f"leeway={seconds!r} must be a number of seconds, at least 0")
    return seconds


def _checked_lifetime(seconds: float, error: type[UsageError]) -> float:
    if not _is_number(seconds) or not 0 < seconds <= _LONGEST_SECONDS:
        raise error(f"lifetime={seconds!r} must be a number of seconds, more than 0 and at most {_LONGEST_SECONDS}")
    return seconds


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
