"""JSON Web Tokens: `JWTUtils` issues and verifies them, `jwt_bearer_resolver` makes a bearer resolver of one.

Whatever can be wrong about a key or an option is refused at construction, so that a failing `decode` always
means a bad token. Knows PyJWT, and `cryptography` only where an asymmetric algorithm needs it; no sockets.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import jwt as pyjwt

from quart_wshub.auth import BearerResolver, Identity, UserId
from quart_wshub.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["JWTUtils", "jwt_bearer_resolver"]

_HMAC_KEY_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
"""The shortest key of each symmetric algorithm: as long as its hash (RFC 7518, section 3.2)."""

_RSA_KEY_BITS = 2048
"""The shortest RSA key (RFC 7518, section 3.3)."""

_SET_BY_ENCODE = frozenset({"sub", "iat", "exp", "iss", "aud"})

_LONGEST_SECONDS = 100 * 365 * 86400
"""No lifetime or leeway is longer than a century; what is, was not meant in seconds."""

_LATEST_TIMESTAMP = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp())


@dataclass(frozen=True, slots=True)
class _KeyKind:
    """The keys of an asymmetric algorithm: what `_kind_of` calls them, and how openssl makes one."""

    names: tuple[str, ...]
    genpkey: str


_RSA = _KeyKind(("RSA",), "RSA -pkeyopt rsa_keygen_bits:2048")

_PEM_KEY_KINDS = {
    "RS256": _RSA,
    "RS384": _RSA,
    "RS512": _RSA,
    "PS256": _RSA,
    "PS384": _RSA,
    "PS512": _RSA,
    "ES256": _KeyKind(("P-256",), "EC -pkeyopt ec_paramgen_curve:P-256"),
    "ES384": _KeyKind(("P-384",), "EC -pkeyopt ec_paramgen_curve:P-384"),
    "ES512": _KeyKind(("P-521",), "EC -pkeyopt ec_paramgen_curve:P-521"),
    "EdDSA": _KeyKind(("Ed25519", "Ed448"), "ed25519"),
}

_CURVE_NAMES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


class _Keys:
    """What PyJWT signs with (`None`: it cannot) and verifies with. A dataclass would show them."""

    __slots__ = ("signing", "verifying")

    def __init__(self, signing: Any, verifying: Any) -> None:
        self.signing = signing
        self.verifying = verifying


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
        self._keys = _load_keys(algorithm, secret, public_key)
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
            msg = "this JWTUtils can only verify: encode() needs the private key as secret"
            raise UsageError(msg)
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
            msg = f"claims must be JSON: {error}"
            raise UsageError(msg) from None

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


def _load_keys(algorithm: str, secret: str | bytes, public_key: str | bytes | None) -> _Keys:
    if algorithm in _HMAC_KEY_BYTES:
        if public_key is not None:
            msg = f"{algorithm} signs and verifies with the secret alone: leave public_key out"
            raise ConfigurationError(msg)
        return _load_hmac_key(algorithm, _as_bytes("secret", secret))
    if algorithm in _PEM_KEY_KINDS:
        return _load_pem_keys(algorithm, _as_bytes("secret", secret), public_key)
    # The value is not shown: swap the first two arguments, and it is the secret.
    msg = f"algorithm must be one of {', '.join((*_HMAC_KEY_BYTES, *_PEM_KEY_KINDS))}"
    raise ConfigurationError(msg)


def _as_bytes(name: str, key: str | bytes) -> bytes:
    if not isinstance(key, (str, bytes)):
        msg = f"{name} must be str or bytes, not {type(key).__name__}"
        raise ConfigurationError(msg)
    try:
        return key.encode() if isinstance(key, str) else key
    except UnicodeEncodeError:
        msg = f"{name} is not valid Unicode"
        raise ConfigurationError(msg) from None


def _load_hmac_key(algorithm: str, secret: bytes) -> _Keys:
    least = _HMAC_KEY_BYTES[algorithm]
    make_one = f'make one: python -c "import secrets; print(secrets.token_urlsafe({least}))"'
    if len(secret) < least:
        msg = f"{algorithm} needs a secret of at least {least} bytes, and this has {len(secret)}; {make_one}"
        raise ConfigurationError(msg)
    if _is_asymmetric(algorithm, secret):
        msg = f"{algorithm} needs a random secret, and this is a PEM, DER, SSH or JWK key; {make_one}"
        raise ConfigurationError(msg)
    return _Keys(secret, secret)


def _is_asymmetric(algorithm: str, secret: bytes) -> bool:
    """Whether this is no HMAC secret: with a public key as one, whoever has that key could issue tokens."""
    if b"-----BEGIN " in secret:
        return True
    try:
        # Otherwise PyJWT would refuse the key at every token, and seem to refuse the token.
        pyjwt.get_algorithm_by_name(algorithm).prepare_key(secret)
    except pyjwt.InvalidKeyError:
        return True
    return False


def _load_pem_keys(algorithm: str, secret: bytes, public_key: str | bytes | None) -> _Keys:
    keys = _load_pem(algorithm, "secret", secret)
    if public_key is None:
        return keys
    other = _load_pem(algorithm, "public_key", _as_bytes("public_key", public_key))
    if other.signing is not None:
        msg = "public_key holds a private key: pass that as secret, and leave public_key out"
        raise ConfigurationError(msg)
    if _public_bytes(other.verifying) != _public_bytes(keys.verifying):
        msg = "public_key does not belong to secret"
        raise ConfigurationError(msg)
    return keys


def _load_pem(algorithm: str, name: str, pem: bytes) -> _Keys:
    keys = _parse_pem(algorithm, name, pem)
    kind, expected = _kind_of(keys.verifying), _PEM_KEY_KINDS[algorithm].names
    if kind not in expected:
        msg = f"{algorithm} needs a {' or '.join(expected)} key, and {name} is a {kind} one"
    elif kind == "RSA" and keys.verifying.key_size < _RSA_KEY_BITS:
        msg = f"{algorithm} needs at least {_RSA_KEY_BITS} bits, and {name} has {keys.verifying.key_size}"
    else:
        return keys
    msg = f"{msg}; {_how_to_make(algorithm)}"
    raise ConfigurationError(msg)


def _parse_pem(algorithm: str, name: str, pem: bytes) -> _Keys:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
    except ImportError:
        msg = f"{algorithm} needs the cryptography package: pip install 'quart-wshub[crypto]'"
        raise ConfigurationError(msg) from None
    try:
        if b"PRIVATE KEY-----" not in pem:
            return _Keys(None, load_pem_public_key(pem))
        private: Any = load_pem_private_key(pem, password=None)
        return _Keys(private, private.public_key())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        msg = (
            f"{name} cannot be read as a PEM key: {algorithm} takes the whole file, with its line breaks and "
            f"without a passphrase; {_how_to_make(algorithm)}"
        )
        raise ConfigurationError(msg) from None


def _how_to_make(algorithm: str) -> str:
    return f"make one: openssl genpkey -algorithm {_PEM_KEY_KINDS[algorithm].genpkey} -out private.pem"


def _kind_of(public_key: object) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return _CURVE_NAMES.get(public_key.curve.name, public_key.curve.name)
    for kind, name in (
        (rsa.RSAPublicKey, "RSA"),
        (ed25519.Ed25519PublicKey, "Ed25519"),
        (ed448.Ed448PublicKey, "Ed448"),
    ):
        if isinstance(public_key, kind):
            return name
    return type(public_key).__name__.removesuffix("PublicKey")


def _public_bytes(public_key: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    encoded: bytes = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _checked_subject(subject: UserId) -> str:
    if isinstance(subject, bool) or not isinstance(subject, UserId) or subject == "":
        msg = f"subject must be a UUID, an int or a str that is not empty, not {type(subject).__name__}"
        raise UsageError(msg)
    return str(subject)


def _checked_claims(claims: Mapping[str, Any]) -> Mapping[str, Any]:
    clash = sorted(_SET_BY_ENCODE.intersection(claims))
    if clash:
        msg = f"claims may not have {', '.join(clash)}: those come from arguments of encode() and JWTUtils()"
        raise UsageError(msg)
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
        msg = "audience is empty, so no token could ever be valid: use None for no audience"
        raise ConfigurationError(msg)
    return list(names)


def _checked_names(name: str, values: Sequence[str]) -> tuple[str, ...]:
    if isinstance(values, str) or not all(isinstance(value, str) and value for value in values):
        msg = f"{name}={values!r} must be made of strings that are not empty"
        raise ConfigurationError(msg)
    return tuple(values)


def _checked_leeway(seconds: float) -> float:
    if not _is_number(seconds) or not 0 <= seconds <= _LONGEST_SECONDS:
        msg = f"leeway={seconds!r} must be a number of seconds, at least 0"
        raise ConfigurationError(msg)
    return seconds


def _checked_lifetime(seconds: float, error: type[UsageError]) -> float:
    if not _is_number(seconds) or not 0 < seconds <= _LONGEST_SECONDS:
        msg = f"lifetime={seconds!r} must be a number of seconds, more than 0 and at most {_LONGEST_SECONDS}"
        raise error(msg)
    return seconds


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
