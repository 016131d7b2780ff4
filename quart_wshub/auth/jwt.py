"""JSON Web Tokens: `JWTUtils` issues and verifies them, `jwt_bearer_resolver` makes a bearer resolver of one.

Whatever can be wrong about a key or an option is refused at construction, so that a failing `decode` always
means a bad token. Knows PyJWT, and `cryptography` only where an asymmetric algorithm needs it; no sockets.
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
"""No lifetime or leeway is longer than a century; what is, was not meant in seconds."""

_LATEST_TIMESTAMP = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp())


class JWTUtils:
    """Issues and verifies tokens of one algorithm. Immutable; may be shared between tasks and threads.

    Args:
        secret: for HS256, HS384 and HS512 the shared key, at least 32, 48 or 64 bytes (a `str` counts as
            UTF-8); for RS*, PS*, ES* and EdDSA the private key as PEM, or the public one, which cannot sign.
        algorithm: the only one that is issued and taken, whatever a token's header says.
        public_key: for asymmetric algorithms the public key as PEM. Seldom needed: a private key implies it.
        issuer: goes into `iss`, and is demanded there.
        audience: goes into `aud`, and a token must be for at least one of these. Where it is `None`, a token
            that is for some audience is refused.
        leeway: seconds by which the clocks of issuer and verifier may differ; at least 0.
        lifetime: seconds from `encode` to `exp`.
        require: claims a token must have. Without ``"exp"``, tokens that never expire are taken.

    Raises:
        ConfigurationError: an argument cannot work. The text says what to do, and holds nothing of a key.
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
        seconds = self._lifetime if lifetime is None else _checked_lifetime(lifetime, UsageError)
        now = time.time()
        payload = {
            **_checked_claims(claims or {}),
            "sub": _checked_subject(subject),
            "iat": int(now),
            "exp": math.ceil(now + seconds),
        }
        if self._issuer is not None:
            payload["iss"] = self._issuer
        if self._audience is not None:
            payload["aud"] = self._audience
        return self._sign(payload)

    def _sign(self, payload: dict[str, Any]) -> str:
        try:
            return pyjwt.encode(payload, self._keys.signing, self._algorithm)
        except (TypeError, ValueError) as error:
            raise UsageError(f"claims must be JSON: {error}") from None

    def decode(self, token: str) -> dict[str, Any]:
        """Verify a token and give its claims.

        Raises:
            jwt.PyJWTError: the token is malformed, expired, not yet valid, or not from or for whom it should
                be. Nothing else is raised, whatever the token.
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
            # Not every PyJWT turns all of these into its own. Keys and options were checked at construction,
            # so the token is to blame; what `error` says may quote it.
            msg = f"token is malformed ({type(error).__name__})"
            raise pyjwt.DecodeError(msg) from None
        self._check_expiry(claims)
        return claims

    def _check_expiry(self, claims: dict[str, Any]) -> None:
        """PyJWT also takes `exp` as text, and as a time no `datetime` can hold."""
        expiry = claims.get("exp")
        if expiry is None:
            return
        if isinstance(expiry, bool) or not isinstance(expiry, (int, float)):
            msg = "exp must be a number"
            raise pyjwt.DecodeError(msg)
        if expiry > _LATEST_TIMESTAMP - self._leeway:
            msg = "exp is beyond the year 9999; it counts seconds, not milliseconds"
            raise pyjwt.DecodeError(msg)

    def expires_at(self, claims: Mapping[str, Any]) -> datetime | None:
        """When `decode` begins to refuse the token of these claims, leeway included, in UTC; or never."""
        if claims.get("exp") is None:
            return None
        return datetime.fromtimestamp(int(claims["exp"]) + self._leeway, UTC)


def jwt_bearer_resolver(jwt: JWTUtils, *, user_id: Callable[[str], UserId] = str) -> BearerResolver:
    """A bearer resolver that takes the tokens `jwt` takes, and knows when they expire and what they claim.

    Args:
        jwt: verifies the tokens.
        user_id: from `sub` to the user, such as `uuid.UUID` or `int`. Called in the event loop, so it may not
            block. A `ValueError` says that the subject is no user (4401); anything else it raises is the
            server's failure (1011).
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


def _checked_subject(subject: UserId) -> str:
    if isinstance(subject, bool) or not isinstance(subject, UserId) or subject == "":
        raise UsageError(f"subject must be a UUID, an int or a str that is not empty, not {type(subject).__name__}")
    return str(subject)


def _checked_claims(claims: Mapping[str, Any]) -> Mapping[str, Any]:
    clash = sorted(_SET_BY_ENCODE.intersection(claims))
    if clash:
        raise UsageError(
            f"claims may not have {', '.join(clash)}: those come from arguments of encode() and JWTUtils()"
        )
    return claims


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
