"""`JWTUtils` and the resolver made of it: what is refused at construction and at decoding, as whose fault."""

from __future__ import annotations

import base64
import json
import math
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from quart_wshub.auth.identity import Identity, ResolverError, resolve
from quart_wshub.auth.jwt import JWTUtils, jwt_bearer_resolver
from quart_wshub.protocol.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "0123456789abcdef0123456789ABCDEF"
LONG_SECRET = SECRET * 2
FAR_AWAY = 4_000_000_000


def private_pem(key: Any, passphrase: bytes | None = None) -> bytes:
    encryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase)
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    return pem


def public_pem(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


KEYS: dict[str, Any] = {
    "RSA": rsa.generate_private_key(65537, 2048),
    "RSA-1024": rsa.generate_private_key(65537, 1024),
    "DSA": dsa.generate_private_key(2048),
    "P-256": ec.generate_private_key(ec.SECP256R1()),
    "P-384": ec.generate_private_key(ec.SECP384R1()),
    "P-521": ec.generate_private_key(ec.SECP521R1()),
    "secp256k1": ec.generate_private_key(ec.SECP256K1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
    "Ed448": ed448.Ed448PrivateKey.generate(),
}

ASYMMETRIC = [
    *((algorithm, "RSA") for algorithm in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
    ("ES256", "P-256"),
    ("ES384", "P-384"),
    ("ES512", "P-521"),
    ("EdDSA", "Ed25519"),
    ("EdDSA", "Ed448"),
]


def signed(payload: object, *, secret: str = SECRET, header: str = '{"alg":"HS256","typ":"JWT"}') -> str:
    """A token with a good signature over whatever payload and header, well-formed or not."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    signing_input = f"{b64(header.encode())}.{b64(body)}"
    signature = pyjwt.get_algorithm_by_name("HS256").sign(signing_input.encode(), secret.encode())
    return f"{signing_input}.{b64(signature)}"


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TestRoundTrip:
    @pytest.mark.parametrize(
        ("algorithm", "secret"), [("HS256", SECRET), ("HS384", LONG_SECRET), ("HS512", LONG_SECRET.encode())]
    )
    def test_symmetric(self, algorithm: str, secret: str | bytes) -> None:
        tokens = JWTUtils(secret, algorithm)

        assert tokens.decode(tokens.encode("ann"))["sub"] == "ann"

    @pytest.mark.parametrize(("algorithm", "kind"), ASYMMETRIC)
    def test_private_key_issues_and_public_key_verifies(self, algorithm: str, kind: str) -> None:
        issuer = JWTUtils(private_pem(KEYS[kind]).decode(), algorithm)
        verifier = JWTUtils(public_pem(KEYS[kind]), algorithm)
        token = issuer.encode("ann")

        assert verifier.decode(token) == issuer.decode(token)
        with pytest.raises(UsageError, match="can only verify"):
            verifier.encode("ann")

    def test_public_key_may_be_given_besides_the_private_one(self) -> None:
        pem, public = private_pem(KEYS["P-256"]), public_pem(KEYS["P-256"]).decode()
        tokens = JWTUtils(pem, "ES256", public_key=public)

        assert tokens.decode(tokens.encode(7))["sub"] == "7"

    def test_default_claims(self) -> None:
        before = int(time.time())
        claims = JWTUtils(SECRET).decode(JWTUtils(SECRET).encode("ann"))

        assert claims.keys() == {"sub", "iat", "exp"}
        assert before <= claims["iat"] <= time.time()
        assert 3600 <= claims["exp"] - claims["iat"] <= 3601

    def test_further_claims_issuer_and_audience(self) -> None:
        tokens = JWTUtils(SECRET, issuer="me", audience=["a", "b"])
        claims = tokens.decode(tokens.encode("ann", claims={"role": "admin", "nbf": 1}))

        assert claims["role"] == "admin"
        assert (claims["iss"], claims["aud"]) == ("me", ["a", "b"])

    @pytest.mark.parametrize("subject", [UUID(int=5), "ann", 7], ids=["uuid", "str", "int"])
    def test_subject_is_text(self, subject: UUID | str | int) -> None:
        assert JWTUtils(SECRET).decode(JWTUtils(SECRET).encode(subject))["sub"] == str(subject)

    @given(lifetime=st.floats(min_value=1e-6, max_value=1e9))
    def test_a_token_lives_its_lifetime_and_at_most_one_second_more(self, lifetime: float) -> None:
        before = time.time()
        claims = JWTUtils(SECRET, lifetime=9).decode(JWTUtils(SECRET).encode("ann", lifetime=lifetime))

        assert before + lifetime <= claims["exp"] <= math.ceil(time.time() + lifetime)

    def test_lifetime_of_the_constructor(self) -> None:
        claims = JWTUtils(SECRET).decode(JWTUtils(SECRET, lifetime=60).encode("ann"))

        assert 60 <= claims["exp"] - claims["iat"] <= 61


class TestMisuseOfEncode:
    @pytest.mark.parametrize("name", ["sub", "iat", "exp", "iss", "aud"])
    def test_reserved_claims(self, name: str) -> None:
        with pytest.raises(UsageError, match=f"claims may not have {name}:"):
            JWTUtils(SECRET).encode("ann", claims={name: "x"})

    @pytest.mark.parametrize("claims", [{"x": {1}}, {(): 1}], ids=["value", "key"])
    def test_claims_that_are_no_json(self, claims: dict[Any, Any]) -> None:
        with pytest.raises(UsageError, match="claims must be JSON"):
            JWTUtils(SECRET).encode("ann", claims=claims)

    @pytest.mark.parametrize("subject", ["", None, True, 1.5, b"ann"])
    def test_subject(self, subject: Any) -> None:
        with pytest.raises(UsageError, match="subject must be"):
            JWTUtils(SECRET).encode(subject)

    @pytest.mark.parametrize("lifetime", [0, -1, math.nan, math.inf, 1e300, True, timedelta(hours=1), "60"])
    def test_lifetime(self, lifetime: Any) -> None:
        with pytest.raises(UsageError, match=r"lifetime=.* must be a number of seconds"):
            JWTUtils(SECRET).encode("ann", lifetime=lifetime)


BAD_ARGUMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "HS256, 31 bytes": ({"secret": "x" * 31}, "HS256 needs a secret of at least 32 bytes, and this has 31"),
    "HS384, 47 bytes": ({"secret": "x" * 47, "algorithm": "HS384"}, "at least 48 bytes, and this has 47"),
    "HS512, 63 bytes": ({"secret": "x" * 63, "algorithm": "HS512"}, "at least 64 bytes, and this has 63"),
    "empty secret": ({"secret": ""}, "at least 32 bytes, and this has 0"),
    "how to make one": ({"secret": ""}, r'python -c "import secrets; print\(secrets.token_urlsafe\(32\)\)"'),
    "no secret": ({"secret": None}, "secret must be str or bytes, not NoneType"),
    "not Unicode": ({"secret": "\ud800" * 40}, "secret is not valid Unicode"),
    "public key as HMAC secret": ({"secret": public_pem(KEYS["RSA"])}, "needs a random secret"),
    "private key as HMAC secret": ({"secret": private_pem(KEYS["RSA"])}, "needs a random secret"),
    "PEM in one line as HMAC secret": (
        {"secret": public_pem(KEYS["RSA"]).replace(b"\n", b"\\n")},
        "needs a random secret",
    ),
    "PEM cut off as HMAC secret": ({"secret": public_pem(KEYS["RSA"])[:-30]}, "needs a random secret"),
    "SSH key as HMAC secret": ({"secret": b"ssh-rsa AAAA" + b"x" * 40}, "needs a random secret"),
    "public_key with HS256": ({"public_key": "x"}, "leave public_key out"),
    "algorithm none": ({"algorithm": "none"}, "algorithm must be one of HS256, HS384, HS512, RS256"),
    "unknown algorithm": ({"algorithm": "HS1"}, "algorithm must be one of HS256"),
    "lower case": ({"algorithm": "hs256"}, "algorithm must be one of HS256"),
    "not a PEM": (
        {"algorithm": "RS256"},
        "secret cannot be read as a PEM key.*openssl genpkey -algorithm RSA",
    ),
    "not a public PEM": (
        {"secret": private_pem(KEYS["RSA"]), "algorithm": "RS256", "public_key": "x"},
        "public_key cannot be read as a PEM key",
    ),
    "damaged PEM": (
        {"secret": private_pem(KEYS["RSA"])[:200] + b"\n-----END PRIVATE KEY-----", "algorithm": "RS256"},
        "secret cannot be read as a PEM key",
    ),
    "PEM with a passphrase": (
        {"secret": private_pem(KEYS["RSA"], b"open"), "algorithm": "RS256"},
        "without a passphrase",
    ),
    "EC key for RS256": (
        {"secret": private_pem(KEYS["P-256"]), "algorithm": "RS256"},
        "RS256 needs a RSA key, and secret is a P-256 one; make one: openssl genpkey -algorithm RSA",
    ),
    "DSA key for RS256": ({"secret": private_pem(KEYS["DSA"]), "algorithm": "RS256"}, "secret is a DSA one"),
    "RSA key for ES256": ({"secret": private_pem(KEYS["RSA"]), "algorithm": "ES256"}, "needs a P-256 key"),
    "wrong curve": ({"secret": public_pem(KEYS["P-384"]), "algorithm": "ES256"}, "secret is a P-384 one"),
    "curve of no algorithm": (
        {"secret": private_pem(KEYS["secp256k1"]), "algorithm": "ES256"},
        "secret is a secp256k1 one",
    ),
    "EC key for EdDSA": (
        {"secret": private_pem(KEYS["P-256"]), "algorithm": "EdDSA"},
        "EdDSA needs a Ed25519 or Ed448 key",
    ),
    "short RSA key": (
        {"secret": private_pem(KEYS["RSA-1024"]), "algorithm": "PS256"},
        "needs at least 2048 bits, and secret has 1024",
    ),
    "private key as public_key": (
        {"secret": private_pem(KEYS["RSA"]), "algorithm": "RS256", "public_key": private_pem(KEYS["RSA"])},
        "public_key holds a private key",
    ),
    "public_key of another pair": (
        {
            "secret": private_pem(KEYS["Ed25519"]),
            "algorithm": "EdDSA",
            "public_key": public_pem(ed25519.Ed25519PrivateKey.generate()),
        },
        "public_key does not belong to secret",
    ),
    "negative leeway": ({"leeway": -1}, "leeway=-1 must be a number of seconds, at least 0"),
    "leeway nan": ({"leeway": math.nan}, "leeway=nan must be"),
    "leeway inf": ({"leeway": math.inf}, "leeway=inf must be"),
    "leeway timedelta": ({"leeway": timedelta(1)}, "leeway=.* must be a number of seconds"),
    "lifetime 0": ({"lifetime": 0}, "lifetime=0 must be a number of seconds, more than 0"),
    "empty issuer": ({"issuer": ""}, "issuer=.* must be made of strings that are not empty"),
    "empty audience": ({"audience": ""}, "audience=.* must be made of strings that are not empty"),
    "no audience in a list": ({"audience": []}, "audience is empty"),
    "audience of numbers": ({"audience": [1]}, "audience=.* must be made of strings"),
    "require as text": ({"require": "exp"}, "require='exp' must be made of strings"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS)
def test_bad_arguments_fail_at_construction(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        JWTUtils(**{"secret": SECRET, **arguments})


@pytest.mark.parametrize(("arguments", "message"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS)
def test_what_construction_raises_shows_nothing_of_a_key(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as info:
        JWTUtils(**{"secret": SECRET, **arguments})

    assert info.value.__cause__ is None
    assert info.value.__suppress_context__ or info.value.__context__ is None
    for key in (arguments.get("secret", SECRET), arguments.get("public_key")):
        text = key.decode() if isinstance(key, bytes) else key
        assert not text or len(text) < 8 or text[-60:] not in str(info.value)
    assert "BEGIN" not in str(info.value)


def test_swapped_arguments_do_not_show_the_secret() -> None:
    with pytest.raises(ConfigurationError) as info:
        JWTUtils("HS256", SECRET)

    assert SECRET not in str(info.value)


def test_missing_cryptography_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.serialization", None)

    with pytest.raises(ConfigurationError, match=r"pip install 'quart-wshub\[crypto\]'"):
        JWTUtils(private_pem(KEYS["RSA"]), "RS256")


def test_symmetric_tokens_need_no_cryptography(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.serialization", None)

    assert JWTUtils(SECRET).decode(JWTUtils(SECRET).encode("ann"))["sub"] == "ann"


def test_repr_shows_no_key() -> None:
    tokens = JWTUtils(SECRET, issuer="me", audience="you")

    assert repr(tokens) == "<JWTUtils HS256 issuer='me' audience='you'>"
    assert SECRET not in repr(tokens._keys)
    with pytest.raises(TypeError, match="vars"):
        vars(tokens)


def in_seconds(seconds: float) -> int:
    return int(time.time() + seconds)


GOOD = {"sub": "ann", "exp": FAR_AWAY}

BAD_TOKENS: dict[str, str] = {
    "empty": "",
    "one dot": ".",
    "two dots": "..",
    "no dots": "x" * 40,
    "10 kB": "x" * 10_000,
    "10 kB in three parts": ".".join(["eyJhbGciOiJIUzI1NiJ9", "x" * 10_000, "x" * 43]),
    "not ASCII": "ä.ö.ü",
    "lone surrogate": "\ud800.\ud800.\ud800",
    "NUL": "\0.\0.\0",
    "header is no JSON": signed(GOOD, header="x"),
    "header is no object": signed(GOOD, header="[]"),
    "header is not UTF-8": b64(b'{"alg":"\xff"}') + ".e30.e30",
    "header nested 5,000 deep": b64(b"[" * 5000) + ".e30.e30",
    "alg is a list": signed(GOOD, header='{"alg":["HS256"]}'),
    "no alg": signed(GOOD, header="{}"),
    "alg none": pyjwt.encode(GOOD, "", "none"),
    "alg none, signed": signed(GOOD, header='{"alg":"none"}'),
    "alg None, signed": signed(GOOD, header='{"alg":"None"}'),
    "other algorithm": pyjwt.encode(GOOD, LONG_SECRET, "HS512"),
    "other algorithm, same secret": signed(GOOD, header='{"alg":"HS384"}'),
    "kid is a number": signed(GOOD, header='{"alg":"HS256","kid":1}'),
    "unknown critical extension": signed(GOOD, header='{"alg":"HS256","crit":["x"],"x":1}'),
    "detached payload": signed(GOOD, header='{"alg":"HS256","crit":["b64"],"b64":false}'),
    "other secret": signed(GOOD, secret=LONG_SECRET),
    "signature cut off": signed(GOOD).rpartition(".")[0] + ".",
    "payload is no JSON": signed(b"x"),
    "payload is a list": signed([]),
    "payload is null": signed(None),
    "payload nested 50,000 deep": signed(b"[" * 50_000),
    "expired": signed(GOOD | {"exp": in_seconds(-1)}),
    "no exp": signed({"sub": "ann"}),
    "exp null": signed(GOOD | {"exp": None}),
    "exp text": signed(GOOD | {"exp": str(FAR_AWAY)}),
    "exp word": signed(GOOD | {"exp": "never"}),
    "exp list": signed(GOOD | {"exp": [FAR_AWAY]}),
    "exp true": signed(GOOD | {"exp": True}),
    "exp NaN": signed(GOOD | {"exp": math.nan}),
    "exp Infinity": signed(GOOD | {"exp": math.inf}),
    "exp -Infinity": signed(GOOD | {"exp": -math.inf}),
    "exp negative": signed(GOOD | {"exp": -(10**30)}),
    "exp in milliseconds": signed(GOOD | {"exp": FAR_AWAY * 1000}),
    "exp of 400 digits": signed(GOOD | {"exp": 10**400}),
    "exp of 5,000 digits": signed(b'{"sub":"ann","exp":' + b"9" * 5000 + b"}"),
    "exp 1e300": signed(GOOD | {"exp": 1e300}),
    "not yet valid": signed(GOOD | {"nbf": FAR_AWAY}),
    "nbf list": signed(GOOD | {"nbf": []}),
    "nbf Infinity": signed(GOOD | {"nbf": math.inf}),
    "issued in the future": signed(GOOD | {"iat": FAR_AWAY}),
    "iat word": signed(GOOD | {"iat": "now"}),
    "iat object": signed(GOOD | {"iat": {}}),
    "iat Infinity": signed(GOOD | {"iat": -math.inf}),
    "no sub": signed({"exp": FAR_AWAY}),
    "sub null": signed(GOOD | {"sub": None}),
    "sub number": signed(GOOD | {"sub": 5}),
    "sub list": signed(GOOD | {"sub": ["ann"]}),
    "for an audience": signed(GOOD | {"aud": "you"}),
}


class TestBadTokens:
    @pytest.mark.parametrize("token", BAD_TOKENS.values(), ids=BAD_TOKENS)
    @pytest.mark.parametrize("leeway", [0, 0.5])
    def test_decode_raises_pyjwt_error(self, token: str, leeway: float) -> None:
        with pytest.raises(pyjwt.PyJWTError):
            JWTUtils(SECRET, leeway=leeway).decode(token)

    @pytest.mark.parametrize("token", BAD_TOKENS.values(), ids=BAD_TOKENS)
    async def test_resolver_says_none(self, token: str) -> None:
        resolver = jwt_bearer_resolver(JWTUtils(SECRET))

        assert await resolve(resolver, token, seconds=1) is None

    @pytest.mark.parametrize("error", [ValueError, TypeError, OverflowError, RecursionError])
    def test_what_pyjwt_trips_over_is_a_bad_token(
        self, error: type[Exception], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def decode(*_: object, **__: object) -> None:
            raise error("secret.token.text")

        monkeypatch.setattr(pyjwt, "decode", decode)

        with pytest.raises(pyjwt.DecodeError, match=rf"^token is malformed \({error.__name__}\)$") as info:
            JWTUtils(SECRET).decode("secret.token.text")
        assert info.value.__cause__ is None
        assert info.value.__suppress_context__

    @pytest.mark.parametrize("token", [None, 5, b"x"], ids=["None", "int", "bytes"])
    def test_no_text(self, token: Any) -> None:
        with pytest.raises(pyjwt.PyJWTError):
            JWTUtils(SECRET).decode(token)

    @given(st.text())
    def test_any_text(self, token: str) -> None:
        with pytest.raises(pyjwt.PyJWTError):
            JWTUtils(SECRET).decode(token)

    @given(
        st.dictionaries(
            st.sampled_from(["exp", "sub", "iat", "nbf", "iss", "aud", "jti"]),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
                max_leaves=5,
            ),
        )
    )
    def test_any_claims_under_a_good_signature(self, claims: dict[str, Any]) -> None:
        tokens = JWTUtils(SECRET, leeway=0.5, require=())
        try:
            decoded = tokens.decode(signed(claims))
        except pyjwt.PyJWTError:
            return
        expires_at = tokens.expires_at(decoded)
        assert (expires_at is None) == (claims.get("exp") is None)

    def test_a_token_of_the_public_key_as_hmac_secret(self) -> None:
        public = public_pem(KEYS["RSA"]).decode()

        with pytest.raises(pyjwt.InvalidAlgorithmError):
            JWTUtils(public, "RS256").decode(signed(GOOD, secret=public))

    @pytest.mark.parametrize(
        "claims",
        [{}, {"iss": "other"}, {"iss": ["me"]}, {"iss": None}],
        ids=["none", "other", "list", "null"],
    )
    def test_issuer_is_demanded(self, claims: dict[str, Any]) -> None:
        with pytest.raises(pyjwt.PyJWTError, match="iss"):
            JWTUtils(SECRET, issuer="me").decode(signed(GOOD | claims))

    @pytest.mark.parametrize(
        "claims",
        [{}, {"aud": "other"}, {"aud": ["other"]}, {"aud": []}, {"aud": {}}, {"aud": [["you"]]}],
        ids=["none", "other", "others", "empty", "object", "nested"],
    )
    @pytest.mark.parametrize("audience", ["you", ["you", "them"]], ids=["one", "two"])
    def test_audience_is_demanded(self, claims: dict[str, Any], audience: str | list[str]) -> None:
        with pytest.raises(pyjwt.PyJWTError):
            JWTUtils(SECRET, audience=audience).decode(signed(GOOD | claims))

    def test_one_audience_is_enough(self) -> None:
        token = signed(GOOD | {"aud": ["you", "others"]})

        assert JWTUtils(SECRET, audience=["them", "you"]).decode(token)["sub"] == "ann"


class TestTime:
    def test_leeway_prolongs_and_advances(self) -> None:
        late, early = signed(GOOD | {"exp": in_seconds(-5)}), signed(GOOD | {"iat": in_seconds(5)})
        tokens = JWTUtils(SECRET, leeway=10)

        assert tokens.decode(late)["sub"] == tokens.decode(early)["sub"] == "ann"

    def test_a_token_without_exp_where_it_is_not_required(self) -> None:
        tokens = JWTUtils(SECRET, require=["sub"])
        claims = tokens.decode(signed({"sub": "ann"}))

        assert tokens.expires_at(claims) is None

    @pytest.mark.parametrize(
        ("exp", "leeway", "expected"),
        [
            (FAR_AWAY, 0, datetime(2096, 10, 2, 7, 6, 40, tzinfo=UTC)),
            (FAR_AWAY + 0.9, 0, datetime(2096, 10, 2, 7, 6, 40, tzinfo=UTC)),
            (FAR_AWAY, 20.5, datetime(2096, 10, 2, 7, 7, 0, 500_000, tzinfo=UTC)),
        ],
        ids=["whole", "fraction", "leeway"],
    )
    def test_expires_at(self, exp: float, leeway: float, expected: datetime) -> None:
        tokens = JWTUtils(SECRET, leeway=leeway)

        assert tokens.expires_at(tokens.decode(signed(GOOD | {"exp": exp}))) == expected


class TestResolver:
    async def test_identity(self) -> None:
        tokens, user = JWTUtils(SECRET), uuid4()
        token = tokens.encode(user, lifetime=60, claims={"role": "admin"})
        identity = await resolve(jwt_bearer_resolver(tokens, user_id=UUID), token, seconds=1)

        assert isinstance(identity, Identity)
        assert identity.user_id == user
        assert identity.claims["role"] == "admin"
        assert identity.expires_at == tokens.expires_at(tokens.decode(token))
        remaining = identity.expires_in()
        assert remaining is not None
        assert 58 < remaining <= 61

    async def test_leeway_counts_for_the_identity_too(self) -> None:
        resolver = jwt_bearer_resolver(JWTUtils(SECRET, leeway=10))
        identity = await resolve(resolver, signed(GOOD | {"exp": in_seconds(-5)}), seconds=1)

        assert identity is not None
        assert identity.user_id == "ann"

    @pytest.mark.parametrize("claims", [{}, {"sub": ""}, {"sub": None}], ids=["missing", "empty", "null"])
    async def test_no_subject_although_none_is_required(self, claims: dict[str, Any]) -> None:
        tokens = JWTUtils(SECRET, require=["exp"])

        assert await resolve(jwt_bearer_resolver(tokens), signed({"exp": FAR_AWAY} | claims), seconds=1) is None

    @pytest.mark.parametrize("user_id", [UUID, int], ids=["UUID", "int"])
    async def test_a_subject_that_is_no_user(self, user_id: Callable[[str], UUID | int]) -> None:
        resolver = jwt_bearer_resolver(JWTUtils(SECRET), user_id=user_id)

        assert await resolve(resolver, signed(GOOD), seconds=1) is None

    @pytest.mark.parametrize("error", [KeyError, TypeError, RuntimeError, OSError, pyjwt.DecodeError])
    async def test_every_other_failure_is_the_servers(self, error: type[Exception]) -> None:
        def user_id(subject: str) -> str:
            raise error(subject)

        with pytest.raises(ResolverError) as info:
            await resolve(jwt_bearer_resolver(JWTUtils(SECRET), user_id=user_id), signed(GOOD), seconds=1)
        assert isinstance(info.value.__cause__, error)

    @pytest.mark.parametrize("result", [None, True, 1.5])
    async def test_a_user_id_that_is_none_is_the_servers_failure(self, result: Any) -> None:
        resolver = jwt_bearer_resolver(JWTUtils(SECRET), user_id=lambda _: result)

        with pytest.raises(ResolverError) as info:
            await resolve(resolver, signed(GOOD), seconds=1)
        assert isinstance(info.value.__cause__, TypeError)
