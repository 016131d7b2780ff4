"""The inbox: bounded, in order, and readable to the end."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from quart_wshub.connection.inbox import MAX_BYTES, MESSAGE_OVERHEAD_BYTES, Inbox
from quart_wshub.connection.pacer import YIELD_EVERY, Pacer
from quart_wshub.protocol.errors import WebSocketDisconnect


async def test_messages_come_out_in_the_order_they_went_in() -> None:
    inbox = Inbox(Pacer())
    for message in ("a", b"b", "", b""):
        inbox.put(message)

    assert len(inbox) == 4
    assert [await inbox.get() for _ in range(4)] == ["a", b"b", "", b""]
    assert len(inbox) == 0


async def test_a_reader_waits_for_a_message() -> None:
    inbox = Inbox(Pacer())
    got: list[str | bytes] = []

    async def read() -> None:
        got.append(await inbox.get())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        assert got == []
        inbox.put("late")

    assert got == ["late"]


async def test_several_readers_get_every_message_once() -> None:
    inbox = Inbox(Pacer())
    got: list[str | bytes] = []

    async def read() -> None:
        with suppress(WebSocketDisconnect):
            while True:
                got.append(await inbox.get())

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(read)
        await wait_all_tasks_blocked()
        for number in range(20):
            inbox.put(str(number))
        await wait_all_tasks_blocked()
        inbox.close(1000, "")

    assert sorted(got) == sorted(str(number) for number in range(20))


async def test_a_message_taken_by_a_quicker_reader_leaves_the_waiting_one_waiting() -> None:
    inbox = Inbox(Pacer())
    got: list[str | bytes] = []

    async def read() -> None:
        got.append(await inbox.get())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        inbox.put("first")
        assert await inbox.get() == "first"
        await wait_all_tasks_blocked()
        assert got == []
        inbox.put("second")

    assert got == ["second"]


async def test_waiting_messages_are_readable_after_the_close_and_then_every_get_raises() -> None:
    inbox = Inbox(Pacer())
    inbox.put("last words")
    inbox.close(4000, "bye")

    assert await inbox.get() == "last words"
    for _ in range(2):
        with pytest.raises(WebSocketDisconnect) as caught:
            await inbox.get()
        assert (caught.value.code, caught.value.reason) == (4000, "bye")


async def test_only_the_first_close_counts() -> None:
    inbox = Inbox(Pacer())
    inbox.close(4000, "first")
    inbox.close(4001, "second")

    with pytest.raises(WebSocketDisconnect, match="4000"):
        await inbox.get()


async def test_closing_wakes_every_waiting_reader() -> None:
    inbox = Inbox(Pacer())
    woken = 0

    async def read() -> None:
        nonlocal woken
        with pytest.raises(WebSocketDisconnect):
            await inbox.get()
        woken += 1

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(read)
        await wait_all_tasks_blocked()
        inbox.close(1000, "")

    assert woken == 3


async def test_nothing_is_put_into_a_closed_inbox() -> None:
    inbox = Inbox(Pacer())
    inbox.close(1000, "")
    inbox.put("too late")

    assert len(inbox) == 0


async def test_room_is_bounded_in_bytes() -> None:
    inbox = Inbox(Pacer())
    inbox.put(b"x" * (MAX_BYTES - MESSAGE_OVERHEAD_BYTES - 1))
    assert inbox.has_room()

    inbox.put(b"")

    assert not inbox.has_room()
    await inbox.get()
    await inbox.wait_for_room()
    assert inbox.has_room()


async def test_empty_messages_are_bounded_too() -> None:
    inbox = Inbox(Pacer())
    while inbox.has_room():
        inbox.put("")

    assert len(inbox) <= MAX_BYTES // 64
    while len(inbox):
        await inbox.get()
    inbox.put(b"x" * (MAX_BYTES - MESSAGE_OVERHEAD_BYTES - 1))
    assert inbox.has_room(), "what is taken is no longer counted"


async def test_the_writer_waits_until_a_reader_has_made_room() -> None:
    inbox = Inbox(Pacer())
    inbox.put(b"x" * MAX_BYTES)
    inbox.put(b"x" * MAX_BYTES)
    waited = trio.Event()

    async def wait() -> None:
        await inbox.wait_for_room()
        waited.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        await inbox.get()
        await wait_all_tasks_blocked()
        assert not waited.is_set(), "there was no room yet"
        await inbox.get()

    assert waited.is_set()


async def test_the_writer_can_wait_for_room_repeatedly() -> None:
    inbox = Inbox(Pacer())
    for _ in range(3):
        inbox.put(b"x" * MAX_BYTES)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(inbox.wait_for_room)
            await wait_all_tasks_blocked()
            assert len(nursery.child_tasks) == 1
            await inbox.get()


async def test_discarding_makes_room_and_leaves_nothing_to_read() -> None:
    inbox = Inbox(Pacer())
    for _ in range(3):
        inbox.put(b"x" * MAX_BYTES)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(inbox.wait_for_room)
        await wait_all_tasks_blocked()
        inbox.discard()

    assert len(inbox) == 0
    assert inbox.has_room()


async def test_a_cancelled_reader_takes_nothing() -> None:
    inbox = Inbox(Pacer())
    with trio.CancelScope() as scope:
        scope.cancel()
        inbox.put("kept")
        await inbox.get()

    assert scope.cancelled_caught
    assert await inbox.get() == "kept"


async def test_a_reader_cancelled_while_it_waits_takes_no_later_message() -> None:
    inbox = Inbox(Pacer())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inbox.get)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    inbox.put("kept")
    assert await inbox.get() == "kept"


async def test_a_reader_that_never_has_to_wait_still_yields_to_other_tasks() -> None:
    inbox = Inbox(Pacer())
    for number in range(YIELD_EVERY * 4):
        inbox.put(str(number))
    turns = 0

    async def sibling() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sibling)
        for _ in range(YIELD_EVERY * 4):
            await inbox.get()
        nursery.cancel_scope.cancel()

    assert turns >= 2


async def test_a_reader_that_ignores_the_close_still_yields_to_other_tasks() -> None:
    inbox = Inbox(Pacer())
    inbox.close(1000, "")
    with assert_checkpoints():
        for _ in range(YIELD_EVERY):
            with pytest.raises(WebSocketDisconnect):
                await inbox.get()
