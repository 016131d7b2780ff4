"""The keys that sign and verify tokens. Every bad key is refused here, and no key is in a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jwt as pyjwt

from quart_wshub.protocol.errors import ConfigurationError

__all__ = ["JWTKeys", "load_keys"]

_HMAC_KEY_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
"""The minimum key length of each symmetric algorithm is that of its hash (RFC 7518, section 3.2)."""

_RSA_KEY_BITS = 2048
"""The minimum length of an RSA key (RFC 7518, section 3.3)."""


@dataclass(frozen=True, slots=True)
class _KeyKind:
    """The keys of an asymmetric algorithm: their kinds as `_kind_of` names them, and how openssl makes one."""

    names: tuple[str, ...]
    genpkey: str


_PEM_KEY_KINDS = {
    **dict.fromkeys(
        ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), _KeyKind(("RSA",), "RSA -pkeyopt rsa_keygen_bits:2048")
    ),
    "ES256": _KeyKind(("P-256",), "EC -pkeyopt ec_paramgen_curve:P-256"),
    "ES384": _KeyKind(("P-384",), "EC -pkeyopt ec_paramgen_curve:P-384"),
    "ES512": _KeyKind(("P-521",), "EC -pkeyopt ec_paramgen_curve:P-521"),
    "EdDSA": _KeyKind(("Ed25519", "Ed448"), "ed25519"),
}

_CURVE_NAMES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


@dataclass(frozen=True, slots=True, repr=False)
class JWTKeys:
    """What PyJWT signs with (`None`: it cannot) and verifies with; not in the `repr`."""

    signing: Any
    verifying: Any


def load_keys(algorithm: str, secret: str | bytes, public_key: str | bytes | None) -> JWTKeys:
    if algorithm in _HMAC_KEY_BYTES:
        if public_key is not None:
            raise ConfigurationError(f"{algorithm} signs and verifies with the secret alone: leave public_key out")
        return _load_hmac_key(algorithm, _as_bytes("secret", secret))
    if algorithm in _PEM_KEY_KINDS:
        return _load_pem_keys(algorithm, _as_bytes("secret", secret), public_key)
    # The value is not shown: if the first two arguments are swapped, it is the secret.
    raise ConfigurationError(f"algorithm must be one of {', '.join((*_HMAC_KEY_BYTES, *_PEM_KEY_KINDS))}")


def _as_bytes(name: str, key: str | bytes) -> bytes:
    if not isinstance(key, (str, bytes)):
        raise ConfigurationError(f"{name} must be str or bytes, not {type(key).__name__}")
    try:
        return key.encode() if isinstance(key, str) else key
    except UnicodeEncodeError:
        raise ConfigurationError(f"{name} is not valid Unicode") from None


def _load_hmac_key(algorithm: str, secret: bytes) -> JWTKeys:
    least = _HMAC_KEY_BYTES[algorithm]
    make_one = f'make one: python -c "import secrets; print(secrets.token_urlsafe({least}))"'
    if len(secret) < least:
        raise ConfigurationError(
            f"{algorithm} needs a secret of at least {least} bytes, and this has {len(secret)}; {make_one}"
        )
    if _is_asymmetric(algorithm, secret):
        raise ConfigurationError(
            f"{algorithm} needs a random secret, and this is a PEM, DER, SSH or JWK key; {make_one}"
        )
    return JWTKeys(secret, secret)


def _is_asymmetric(algorithm: str, secret: bytes) -> bool:
    """Whether this is a key of another kind: if a public key is the secret, everybody who has it can issue tokens."""
    if b"-----BEGIN " in secret:
        return True
    try:
        # PyJWT would refuse such a key with every token, as if the token were bad.
        pyjwt.get_algorithm_by_name(algorithm).prepare_key(secret)
    except pyjwt.InvalidKeyError:
        return True
    return False


def _load_pem_keys(algorithm: str, secret: bytes, public_key: str | bytes | None) -> JWTKeys:
    keys = _load_pem(algorithm, "secret", secret)
    if public_key is None:
        return keys
    other = _load_pem(algorithm, "public_key", _as_bytes("public_key", public_key))
    if other.signing is not None:
        raise ConfigurationError("public_key holds a private key: pass that as secret, and leave public_key out")
    if _public_bytes(other.verifying) != _public_bytes(keys.verifying):
        raise ConfigurationError("public_key does not belong to secret")
    return keys


def _load_pem(algorithm: str, name: str, pem: bytes) -> JWTKeys:
    keys = _parse_pem(algorithm, name, pem)
    kind, expected = _kind_of(keys.verifying), _PEM_KEY_KINDS[algorithm].names
    if kind not in expected:
        msg = f"{algorithm} needs a {' or '.join(expected)} key, and {name} is a {kind} one"
    elif kind == "RSA" and keys.verifying.key_size < _RSA_KEY_BITS:
        msg = f"{algorithm} needs at least {_RSA_KEY_BITS} bits, and {name} has {keys.verifying.key_size}"
    else:
        return keys
    raise ConfigurationError(f"{msg}; {_how_to_make(algorithm)}")


def _parse_pem(algorithm: str, name: str, pem: bytes) -> JWTKeys:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
    except ImportError:
        raise ConfigurationError(
            f"{algorithm} needs the cryptography package: pip install 'quart-wshub[crypto]'"
        ) from None
    try:
        if b"PRIVATE KEY-----" not in pem:
            return JWTKeys(None, load_pem_public_key(pem))
        private: Any = load_pem_private_key(pem, password=None)
        return JWTKeys(private, private.public_key())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        msg = (
            f"{name} cannot be read as a PEM key: {algorithm} takes the whole file, with its line breaks and "
            f"without a passphrase; {_how_to_make(algorithm)}"
        )
        raise ConfigurationError(msg) from None


def _how_to_make(algorithm: str) -> str:
    return f"make one: openssl genpkey -algorithm {_PEM_KEY_KINDS[algorithm].genpkey} -out private.pem"


def _kind_of(public_key: object) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec

    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return _CURVE_NAMES.get(public_key.curve.name, public_key.curve.name)
    return type(public_key).__name__.lstrip("_").removesuffix("PublicKey")


def _public_bytes(public_key: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    encoded: bytes = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded
