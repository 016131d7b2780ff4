"""The table of close codes, and what may go into a close frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quart_wshub.protocol.close_codes import MAX_REASON_BYTES, CloseCode, validate_close

if TYPE_CHECKING:
    from collections.abc import Callable

RECONNECTS = {
    1000: False,
    1003: False,
    1007: False,
    1008: True,
    1009: False,
    1011: True,
    1012: True,
    1013: True,
    4401: False,
    4403: False,
    4408: True,
    4429: False,
}


# How an enum is looked up by value; mypy takes the members' own arguments for those of the call.
by_number: Callable[[int], CloseCode] = CloseCode  # type: ignore[assignment]


@pytest.mark.parametrize(("number", "reconnect"), RECONNECTS.items())
def test_table(number: int, reconnect: bool) -> None:
    assert by_number(number).reconnect is reconnect


@pytest.mark.parametrize("code", CloseCode)
def test_every_member_is_a_number_that_may_be_sent_with_its_own_reason(code: CloseCode) -> None:
    validate_close(code, code.reason)

    assert by_number(int(code)) is code
    assert code == int(code)
    assert f"{code}" == str(int(code))


def test_unknown_number() -> None:
    with pytest.raises(ValueError, match="4000 is not a valid CloseCode"):
        by_number(4000)


def may_be_sent(code: int) -> bool:
    """RFC 6455, section 7.4, and the IANA registry, spelled out."""
    if code in {1004, 1005, 1006, 1015}:
        return False
    return 1000 <= code <= 1014 or 3000 <= code <= 4999


@given(
    st.integers() | st.integers(900, 1100) | st.integers(2990, 3010) | st.integers(4990, 5010) | st.integers(0, 70_000)
)
def test_validate_close_over_all_numbers(code: int) -> None:
    if may_be_sent(code):
        validate_close(code, "")
    else:
        with pytest.raises(ValueError, match=rf"close code {code} cannot be sent: use 1000-1003"):
            validate_close(code, "")


@pytest.mark.parametrize("code", range(998, 1018))
def test_validate_close_around_the_registered_ones(code: int) -> None:
    if may_be_sent(code):
        validate_close(code, "")
    else:
        with pytest.raises(ValueError, match="cannot be sent"):
            validate_close(code, "")


@given(st.text(max_size=140))
def test_a_reason_may_have_123_bytes_of_utf8(reason: str) -> None:
    size = len(reason.encode())
    if size <= MAX_REASON_BYTES == 123:
        validate_close(1000, reason)
    else:
        with pytest.raises(ValueError, match=f"close reason of {size} bytes is too long"):
            validate_close(1000, reason)


@pytest.mark.parametrize(
    ("reason", "fits"), [("x" * 123, True), ("x" * 124, False), ("→" * 41, True), ("→" * 42, False)]
)
def test_the_bound_of_a_reason_counts_bytes(reason: str, fits: bool) -> None:
    if fits:
        validate_close(4000, reason)
    else:
        with pytest.raises(ValueError, match="too long"):
            validate_close(4000, reason)
