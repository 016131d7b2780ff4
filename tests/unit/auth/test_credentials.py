"""Where a token is found, and that it is found nowhere afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quart_wshub.auth.credentials import Credentials, extract_credentials, redact_scope

if TYPE_CHECKING:
    from collections.abc import Sequence

TOKEN = "eyJhbGciOiJIUzI1NiJ9.c2VjcmV0.c2lnbmF0dXJl"
OTHER = "other.token.here"


def extract(
    offered: Sequence[str] = (),
    authorization: str | None = None,
    query: bytes = b"",
    *,
    allow_query: bool = True,
) -> Credentials:
    return extract_credentials(offered, authorization, query, allow_query=allow_query)


class TestSources:
    @pytest.mark.parametrize(
        ("offered", "token", "bearer_offered", "others"),
        [
            ((), None, False, ()),
            (("bearer", TOKEN), TOKEN, True, ()),
            (("bearer", TOKEN, "v1"), TOKEN, True, ("v1",)),
            (("v1", "bearer", TOKEN), TOKEN, True, ("v1",)),
            (("bearer",), None, True, ()),
            (("v1", "bearer"), None, True, ("v1",)),
            (("bearer", ""), "", True, ()),
            (("v1", "v2"), None, False, ("v1", "v2")),
            (("Bearer", TOKEN), TOKEN, False, ()),
            (("bearer", "bearer", TOKEN), "bearer", True, (TOKEN,)),
        ],
    )
    def test_subprotocol(
        self, offered: Sequence[str], token: str | None, bearer_offered: bool, others: tuple[str, ...]
    ) -> None:
        assert extract(offered) == Credentials(token, bearer_offered, others)

    @pytest.mark.parametrize(
        ("authorization", "token"),
        [
            (None, None),
            ("", None),
            (f"Bearer {TOKEN}", TOKEN),
            (f"bearer {TOKEN}", TOKEN),
            (f"  BEARER   {TOKEN}  ", TOKEN),
            ("Bearer", ""),
            ("Bearer ", ""),
            (f"Basic {TOKEN}", None),
            (TOKEN, None),
        ],
    )
    def test_authorization(self, authorization: str | None, token: str | None) -> None:
        assert extract(authorization=authorization).token == token

    @pytest.mark.parametrize(
        ("query", "token"),
        [
            (b"", None),
            (b"token=abc", "abc"),
            (b"x=1&token=abc&y=2", "abc"),
            (b"token=abc&token=def", "abc"),
            (b"token=", ""),
            (b"token", ""),
            (b"t%6Fken=a%2Bb+c", "a+b c"),
            (b"Token=abc", None),
            (b"xtoken=abc", None),
            (b"token=%ff", "�"),
            (b"token=\xff", "ÿ"),
        ],
    )
    def test_query(self, query: bytes, token: str | None) -> None:
        assert extract(query=query).token == token
        assert extract(query=query, allow_query=False).token is None

    @pytest.mark.parametrize(
        ("offered", "authorization", "query", "token"),
        [
            (("bearer", "a"), "Bearer b", b"token=c", "a"),
            (("bearer", ""), "Bearer b", b"token=c", ""),
            (("bearer",), "Bearer b", b"token=c", "b"),
            ((), "Bearer b", b"token=c", "b"),
            ((), "Bearer", b"token=c", ""),
            ((), "Basic b", b"token=c", "c"),
        ],
    )
    def test_first_present_wins_even_when_bad(
        self, offered: Sequence[str], authorization: str, query: bytes, token: str
    ) -> None:
        assert extract(offered, authorization, query).token == token

    def test_repr_shows_no_token(self) -> None:
        assert TOKEN not in repr(extract(("bearer", TOKEN)))


def make_scope(
    *,
    query: bytes = b"",
    headers: Sequence[tuple[bytes, bytes]] = (),
    subprotocols: Sequence[str] = (),
) -> dict[str, Any]:
    return {
        "type": "websocket",
        "path": "/ws",
        "query_string": query,
        "headers": list(headers),
        "subprotocols": list(subprotocols),
    }


def redacted(scope: dict[str, Any]) -> dict[str, Any]:
    redact_scope(scope)
    return scope


class TestMasking:
    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            (b"", b""),
            (b"room=1", b"room=1"),
            (b"token=abc", b"token=***"),
            (b"a=1&token=abc&b=2", b"a=1&token=***&b=2"),
            (b"token=abc&token=def", b"token=***&token=***"),
            (b"token=abc;def#ghi", b"token=***"),
            (b"TOKEN=abc", b"TOKEN=***"),
            (b"%74o%6Be%6e=abc", b"%74o%6Be%6e=***"),
            (b"token=", b"token=***"),
            (b"mytoken=abc", b"mytoken=abc"),
        ],
    )
    def test_query(self, query: bytes, expected: bytes) -> None:
        assert redacted(make_scope(query=query))["query_string"] == expected

    @pytest.mark.parametrize(
        ("name", "value", "expected"),
        [
            (b"host", b"example.com", b"example.com"),
            (b"cookie", b"token=kept", b"token=kept"),
            (b"authorization", b"Bearer abc", b"Bearer ***"),
            (b"Authorization", b"Basic  a b c", b"Basic ***"),
            (b"authorization", b"abc", b"***"),
            (b"authorization", b"", b"***"),
            (b"authorization", b" abc", b"***"),
            (b"proxy-authorization", b"Basic abc", b"Basic ***"),
            (b"referer", b"https://x.example/?a=1&token=abc&b=2", b"https://x.example/?a=1&token=***&b=2"),
            (b"X-Original-URI", b"/ws?token=abc", b"/ws?token=***"),
            (b"x-forwarded-uri", b"/ws?token=abc", b"/ws?token=***"),
            (b"sec-websocket-protocol", b"v1, v2", b"v1, v2"),
            (b"sec-websocket-protocol", b"bearer, abc", b"bearer, ***"),
            (b"Sec-WebSocket-Protocol", b"v1,Bearer,abc,v2", b"v1, Bearer, ***, v2"),
            (b"sec-websocket-protocol", b"bearer,,abc", b"bearer, , ***"),
            (b"sec-websocket-protocol", b"bearer, two words", b"bearer, ***"),
            (b"sec-websocket-protocol", b"bearer, bearer, abc", b"bearer, bearer, ***"),
            (b"sec-websocket-protocol", b"bearer, \xe9\xff", b"bearer, ***"),
            (b"sec-websocket-protocol", b"bearer", b"bearer"),
        ],
    )
    def test_header(self, name: bytes, value: bytes, expected: bytes) -> None:
        assert redacted(make_scope(headers=[(name, value)]))["headers"] == [(name, expected)]

    @pytest.mark.parametrize(
        ("offered", "expected"),
        [
            ([], []),
            (["v1"], ["v1"]),
            (["bearer", "abc", "v1"], ["bearer", "***", "v1"]),
            (["v1", "BEARER", "abc"], ["v1", "BEARER", "***"]),
            (["bearer"], ["bearer"]),
        ],
    )
    def test_subprotocols(self, offered: list[str], expected: list[str]) -> None:
        assert redacted(make_scope(subprotocols=offered))["subprotocols"] == expected

    def test_a_list_over_several_header_lines(self) -> None:
        name = b"sec-websocket-protocol"
        scope = make_scope(headers=[(name, b"bearer"), (b"host", b"x"), (name, b"abc")], subprotocols=["abc"])
        shown = redacted(scope)

        assert shown["headers"] == [(name, b"bearer"), (b"host", b"x"), (name, b"***")]
        assert shown["subprotocols"] == ["***"]

    def test_bare_scope(self) -> None:
        assert redacted({"path": "/"}) == {"path": "/", "query_string": b"", "headers": [], "subprotocols": []}


tokens = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=","), min_size=8)
words = st.text(st.sampled_from("abcdefgh-_"), max_size=5)
cased_bearer = st.sampled_from(["bearer", "Bearer", "BEARER"])
url_headers = st.sampled_from([b"referer", b"Referer", b"x-original-uri"])


@st.composite
def offers(draw: st.DrawFn, token: str) -> list[str]:
    return [*draw(st.lists(words)), draw(cased_bearer), token, *draw(st.lists(words))]


@st.composite
def query_strings(draw: st.DrawFn, token: str) -> bytes:
    """A query that carries the token, spelled in any way that is the same query."""
    key = "".join(draw(st.sampled_from([c, f"%{ord(c):02x}", f"%{ord(c):02X}"])) for c in "token")
    value = quote(token, safe="".join(draw(st.lists(st.sampled_from(token)))))
    pairs = [f"{draw(words)}={draw(words)}" for _ in range(draw(st.integers(0, 2)))]
    return "&".join([*pairs, f"{key}={value}", f"x={draw(words)}"]).encode()


@st.composite
def scopes_with(draw: st.DrawFn, token: str) -> dict[str, Any]:
    offered = draw(offers(token))
    separator = draw(st.sampled_from([",", ", ", " ,\t"]))
    headers = [
        (
            draw(st.sampled_from([b"authorization", b"Authorization"])),
            f"{draw(cased_bearer)} {token}".encode(),
        ),
        (b"sec-websocket-protocol", separator.join(offered).encode()),
        (draw(url_headers), b"https://x.example/ws?" + draw(query_strings(token))),
    ]
    return make_scope(query=draw(query_strings(token)), headers=draw(st.permutations(headers)), subprotocols=offered)


@given(st.data(), tokens)
def test_no_token_is_left_in_any_scope(data: st.DataObject, token: str) -> None:
    query_safe = token.replace("&", "").replace("%", "").replace("+", "").replace("=", "") or "x"
    token = f"{query_safe}-{query_safe}"
    scope = data.draw(scopes_with(token))
    found = (
        extract(scope["subprotocols"]).token,
        extract(query=scope["query_string"]).token,
    )
    assert found == (token, token), "the scope does carry it"

    redact_scope(scope)

    shown = repr(scope)
    assert token not in shown
    assert quote(token, safe="") not in shown
    assert repr(token)[1:-1] not in shown
    assert token.encode() not in scope["query_string"]
    assert all(token.encode() not in value for _, value in scope["headers"])
    assert extract(query=scope["query_string"]).token == "***"
    assert extract(scope["subprotocols"]).token == "***"


@given(st.binary(), st.lists(st.tuples(st.sampled_from([b"referer", b"authorization", b"x"]), st.binary())))
def test_masking_never_fails_and_is_idempotent(query: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    once = redacted(make_scope(query=query, headers=headers))

    assert redacted({**once}) == once


@given(st.binary())
def test_masking_leaves_no_token_that_extraction_finds(query: bytes) -> None:
    if extract(query=query).token is not None:
        left = extract(query=redacted(make_scope(query=query))["query_string"]).token
        assert left in {"***", ""}
