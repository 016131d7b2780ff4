"""Channel names: one for each audience, each with a UTF-8 form."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from quart_wshub.cluster.channels import ALL, channel_of, node_channel, parse_user_key, user_key

if TYPE_CHECKING:
    from quart_wshub.delivery.audience import Audience

any_text = st.text(st.characters(exclude_categories=()), min_size=1)
user_ids = st.one_of(st.uuids(), any_text, st.integers())
audiences = st.one_of(st.none(), any_text, user_ids.map(lambda user_id: (user_id,)))


@given(user_ids)
def test_a_user_id_survives_a_round_trip(user_id: UUID | str | int) -> None:
    back = parse_user_key(user_key(user_id))

    assert back == user_id
    assert type(back) is type(user_id)


@given(audiences, audiences)
@example("\ud800", "d800")
@example(("\ud800",), ("d800",))
def test_different_audiences_have_different_channels_which_have_a_utf8_form(one: Audience, other: Audience) -> None:
    names = {channel_of(one), channel_of(other), node_channel("0123456789ab")}

    assert len(names) == 2 + (one != other)
    assert all(name.encode().decode() == name for name in names)


def test_a_uuid_its_text_and_a_number_are_three_users() -> None:
    user_id = UUID(int=7)

    assert len({user_key(7), user_key("7"), user_key(user_id), user_key(str(user_id)), user_key(user_id.hex)}) == 5


def test_the_exact_channel_names() -> None:
    assert channel_of(None) == ALL == "all"
    assert channel_of("chat:1") == "topic:chat:1"
    assert channel_of(("ann",)) == "user:s:ann"
    assert channel_of((7,)) == "user:i:7"
    assert channel_of((UUID(int=7),)) == "user:u:00000000000000000000000000000007"


@pytest.mark.parametrize("key", ["", "q:1", "u:7", "i:x", "x:zz"])
def test_invalid_user_keys_are_refused(key: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whichever the parser of the value raises
        parse_user_key(key)
