"""One outbound message: its size, and what its `repr` keeps to itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quart_wshub.protocol.frame import Frame


@given(st.text())
def test_size_of_text_is_that_of_its_utf8(text: str) -> None:
    assert Frame(text).size == len(text.encode())


@given(st.binary())
def test_size_of_bytes_is_their_number(data: bytes) -> None:
    assert Frame(data).size == len(data)


@pytest.mark.parametrize(
    ("payload", "size"), [("", 0), (b"", 0), ("abc", 3), ("ä", 2), ("→", 3), ("😀", 4), (b"\xff\x00", 2)]
)
def test_sizes(payload: str | bytes, size: int) -> None:
    assert Frame(payload).size == size


@pytest.mark.parametrize("payload", ["text", b"bytes"])
def test_payload_is_kept_as_it_is(payload: str | bytes) -> None:
    assert Frame(payload).payload is payload


@pytest.mark.parametrize(
    ("payload", "shown"),
    [("secret", "<Frame text 6 bytes>"), (b"secret!", "<Frame binary 7 bytes>")],
    ids=["text", "binary"],
)
def test_repr_shows_nothing_of_the_payload(payload: str | bytes, shown: str) -> None:
    assert repr(Frame(payload)) == shown
