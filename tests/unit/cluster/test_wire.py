"""Messages between nodes: round trips, exact bytes, unreadable input."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from quart_wshub.cluster.channels import user_key
from quart_wshub.cluster.outcome import Outcome
from quart_wshub.cluster.wire import (
    CancelRequest,
    CloseConnection,
    CloseUser,
    Control,
    CountConnections,
    CountTopic,
    ListSockets,
    ListUsers,
    Publication,
    RequestClient,
    Response,
    RevokeUser,
    UnreadableError,
    decode,
    encode_control,
    encode_publication,
    own_publication_prefixes,
)

NODE = "0123456789ab"

node_ids = st.text("0123456789abcdef", min_size=12, max_size=12)
texts = st.text(st.characters(codec="utf-8"))
short_texts = st.text("abcé", max_size=40)
refs = st.integers(0, 2**63)
codes = st.sampled_from([1000, 1012, 4401, 4429])
keys = st.one_of(st.uuids(), texts, st.integers(-(2**80), 2**80)).map(user_key)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts, lambda inner: st.lists(inner, max_size=3)
)
outcomes = st.builds(
    Outcome,
    kind=st.sampled_from(["reply", "unknown", "closed", "timeout", "limit", "failed"]),
    text=texts,
    code=st.integers(0, 5000),
    error=st.tuples(texts, texts, json_values),
)
controls: st.SearchStrategy[Control] = st.one_of(
    st.builds(CountConnections, ref=refs),
    st.builds(CountTopic, ref=refs),
    st.builds(ListUsers, ref=refs),
    st.builds(ListSockets, ref=refs),
    st.builds(CloseUser, ref=refs, code=codes, reason=short_texts),
    st.builds(CloseConnection, ref=refs, connection_id=st.uuids(), code=codes, reason=short_texts),
    st.builds(RevokeUser, ref=refs, user=keys, reason=short_texts),
    st.builds(
        RequestClient,
        ref=refs,
        connection_id=st.uuids(),
        text=texts,
        timeout=st.none() | st.floats(0, allow_infinity=False),
    ),
    st.builds(CancelRequest, ref=refs),
    st.builds(
        Response,
        ref=refs,
        part=st.integers(0, 9),
        parts=st.integers(1, 9),
        value=st.integers(),
        users=st.lists(keys).map(tuple),
        sockets=st.lists(st.tuples(st.integers(), st.uuids())).map(tuple),
        outcome=st.none() | outcomes,
    ),
)


@given(node_ids, texts, st.none() | st.uuids())
@example(NODE, "", None)
def test_a_publication_survives_a_round_trip(node: str, text: str, exclude: UUID | None) -> None:
    message = encode_publication(node, text, exclude)

    assert decode(message) == (node, Publication(text, exclude))
    assert message.startswith(own_publication_prefixes(node))
    assert message.endswith(text.encode())


@given(node_ids, controls)
def test_requests_and_responses_survive_a_round_trip(node: str, control: Control) -> None:
    message = encode_control(node, control)

    assert decode(message) == (node, control)
    assert not message.startswith(own_publication_prefixes(node))


def test_the_exact_bytes_that_other_releases_rely_on() -> None:
    assert encode_publication(NODE, "{}") == b"1d0123456789ab{}"
    assert encode_publication(NODE, "{}", UUID(int=1)) == b"1x0123456789ab00000000000000000000000000000001{}"
    assert encode_control(NODE, CountTopic(ref=3)) == b'1c0123456789ab{"ref":3,"kind":"topic"}'


def test_unknown_fields_of_newer_releases_are_ignored() -> None:
    assert decode(b'1c0123456789ab{"ref":3,"kind":"topic","more":true}') == (NODE, CountTopic(ref=3))


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"", "version b''"),
        (b"2d0123456789abhello", "version b'2'"),
        (b"1", "malformed: no node"),
        (b"1d0123456789a", "malformed: no node"),
        (b"1d0123456789AB{}", "malformed: no node"),
        (b"1d\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff{}", "malformed: no node"),
        (b"1q0123456789ab{}", "kind b'q'"),
        (b"1d0123456789ab\xff", "malformed: UnicodeDecodeError"),
        (b"1x0123456789abshort", "malformed: ValueError"),
        (b"1x0123456789ab" + b"z" * 32, "malformed: ValueError"),
        (b"1c0123456789ab", "malformed: json_invalid"),
        (b"1c0123456789ab[]", "malformed: dict_type"),
        (b'1c0123456789ab{"kind":"brand new","ref":1}', "malformed: union_tag_invalid"),
        (b'1c0123456789ab{"kind":"topic"}', "malformed: missing at topic.ref"),
        (b'1c0123456789ab{"kind":"close_user","ref":1,"code":999,"reason":""}', "malformed: value_error"),
        (b'1c0123456789ab{"kind":"revoke","ref":1,"user":"q:1","reason":""}', "malformed: value_error"),
    ],
)
def test_an_unreadable_message_is_refused_with_a_reason_that_quotes_no_content(message: bytes, why: str) -> None:
    with pytest.raises(UnreadableError) as caught:
        decode(message)

    assert why in str(caught.value)
    assert "brand new" not in str(caught.value)


@given(st.binary())
def test_arbitrary_bytes_raise_nothing_but_unreadable_error(message: bytes) -> None:
    for candidate in (message, b"1" + message, b"1c0123456789ab" + message, b"1x0123456789ab" + message):
        with suppress(UnreadableError):
            decode(candidate)
