"""Slots: what users and strangers may take up of a node."""

from __future__ import annotations

import trio
from trio.testing import wait_all_tasks_blocked

from quart_wshub.hub.slots import Slot, Slots
from tests.unit.memory import make_settings


class FakeTransport:
    aborted = False

    def abort(self) -> None:
        self.aborted = True


def taken(slots: Slots, **limits: int) -> Slot:
    slot = slots.begin(make_settings(**limits))
    assert slot is not None
    return slot


def test_pending_handshakes_have_a_limit_of_their_own() -> None:
    limits = {"WS_MAX_CONNECTIONS": 5, "WS_MAX_PENDING_HANDSHAKES": 2}
    slots = Slots()
    first, _ = taken(slots, **limits), taken(slots, **limits)
    assert slots.begin(make_settings(**limits)) is None

    assert first.admit(make_settings(**limits))
    taken(slots, **limits)
    assert slots.begin(make_settings(**limits)) is None


def test_a_full_node_looks_at_no_handshake_and_admits_none_that_was_pending() -> None:
    limits = {"WS_MAX_CONNECTIONS": 1}
    slots = Slots()
    first, late = taken(slots, **limits), taken(slots, **limits)
    assert first.admit(make_settings(**limits))
    assert not late.admit(make_settings(**limits))
    assert slots.begin(make_settings(**limits)) is None

    first.release()
    assert late.admit(make_settings(**limits))


def test_of_too_many_refused_connections_the_oldest_is_aborted() -> None:
    limits = {"WS_MAX_PENDING_HANDSHAKES": 2}
    slots = Slots()
    transports = [FakeTransport() for _ in range(3)]
    held = [taken(slots)]
    for transport in transports:
        held.append(taken(slots, WS_MAX_CONNECTIONS=1))
        held[-1].refuse(transport, make_settings(**limits))  # type: ignore[arg-type]  # all it needs of one
    assert [transport.aborted for transport in transports] == [True, False, False]


async def test_vacant_is_what_holds_nothing_of_any_kind() -> None:
    slots = Slots()
    pending, admitted, refused = taken(slots), taken(slots), taken(slots)
    admitted.admit(make_settings())
    refused.refuse(FakeTransport(), make_settings())  # type: ignore[arg-type]  # all it needs of one
    async with trio.open_nursery() as nursery:
        nursery.start_soon(slots.wait_vacant)
        for slot in (pending, admitted, refused):
            await wait_all_tasks_blocked()
            assert nursery.child_tasks
            slot.release()
    assert not +slots.taken
