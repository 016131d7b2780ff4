"""Connection ids that contain their node."""

from __future__ import annotations

from uuid import RFC_4122, UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quart_wshub.cluster.node_ids import is_node_id, make_connection_id, node_of

node_ids = st.text("0123456789abcdef", min_size=12, max_size=12)


@given(node_ids)
def test_an_id_contains_its_node_and_is_a_uuid_version_8(node_id: str) -> None:
    connection_id = make_connection_id(node_id)

    assert node_of(connection_id) == node_id
    assert (connection_id.version, connection_id.variant) == (8, RFC_4122)
    assert UUID(str(connection_id)) == connection_id


def test_ids_of_one_node_differ_in_all_their_random_bits() -> None:
    ids = [make_connection_id("0123456789ab").int for _ in range(200)]

    assert len(set(ids)) == 200
    varying = 0
    for connection_id in ids:
        varying |= connection_id ^ ids[0]
    assert varying == ((1 << 12) - 1) << 64 | ((1 << 62) - 1)


def test_other_uuids_contain_no_node() -> None:
    assert node_of(uuid4()) is None


@pytest.mark.parametrize(
    "text", ["", "0123456789a", "0123456789abc", "0123456789AB", "0123456789ag", None, 12, "①" * 12]
)
def test_invalid_node_ids(text: object) -> None:
    assert not is_node_id(text)
