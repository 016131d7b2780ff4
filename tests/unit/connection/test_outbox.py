"""The outbox: bounded in messages and in bytes, for fan-outs that do not wait and for senders that do."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from quart_wshub.connection.outbox import MAX_BATCH_BYTES, Outbox
from quart_wshub.protocol.errors import WebSocketDisconnect
from quart_wshub.protocol.frame import Frame

A, B, C = Frame("a"), Frame("b"), Frame("c")


def take_all(outbox: Outbox) -> list[Frame]:
    """What a writer takes until the outbox is idle."""
    frames: list[Frame] = []
    while batch := outbox.take():
        frames += batch
    return frames


# Fan-outs, which do not wait


async def test_frames_come_out_in_the_order_they_went_in() -> None:
    outbox = Outbox(10, 100)
    assert (outbox.queued_messages, outbox.queued_bytes) == (0, 0)
    for frame in (A, B, C):
        assert outbox.offer(frame)

    assert (outbox.queued_messages, outbox.queued_bytes) == (3, 3)
    assert outbox.take() == [A, B, C]
    assert (outbox.queued_messages, outbox.queued_bytes) == (0, 0)
    assert outbox.take() == []


async def test_an_offer_over_the_bound_in_messages_is_refused() -> None:
    outbox = Outbox(2, 100)

    assert [outbox.offer(frame) for frame in (A, B, C)] == [True, True, False]
    assert outbox.queued_bytes == 2
    assert take_all(outbox) == [A, B]


async def test_an_offer_over_the_bound_in_bytes_is_refused() -> None:
    outbox = Outbox(10, 5)

    assert outbox.offer(Frame("12345"))
    assert not outbox.offer(A)
    assert outbox.queued_bytes == 5
    outbox.take()
    assert outbox.offer(Frame("ä"))
    assert outbox.queued_bytes == 2


async def test_a_frame_over_the_bound_in_bytes_is_accepted_when_nothing_else_waits() -> None:
    outbox = Outbox(10, 5)

    assert outbox.offer(Frame("more than five bytes"))
    assert not outbox.offer(A)
    outbox.take()
    assert outbox.offer(A)


async def test_frames_are_taken_in_batches_that_are_bounded_in_bytes() -> None:
    outbox = Outbox(100, 100 * MAX_BATCH_BYTES)
    half, huge = Frame(b"x" * (MAX_BATCH_BYTES // 2)), Frame(b"x" * (MAX_BATCH_BYTES * 3))
    for frame in (half, half, half, huge, A):
        outbox.offer(frame)

    assert outbox.take() == [half, half]
    assert outbox.take() == [half, huge]
    assert outbox.queued_bytes == 1
    assert outbox.take() == [A]


# Idle and busy


async def test_the_outbox_is_idle_only_while_nothing_waits_and_nothing_is_being_written() -> None:
    """Only then may a frame bypass the queue without overtaking another."""
    outbox = Outbox(10, 100)
    assert outbox.idle
    outbox.offer(A)
    assert not outbox.idle
    assert outbox.take() == [A]
    assert not outbox.idle, "the batch is still being written"
    assert outbox.take() == []
    assert outbox.idle


async def test_a_writer_is_started_once_when_something_begins_to_wait() -> None:
    outbox = Outbox(10, 100)
    calls: list[int] = []
    outbox.starter = Mock(start_writer=lambda: calls.append(outbox.queued_messages))

    outbox.offer(A)
    outbox.offer(B)
    outbox.take()
    outbox.offer(C)
    assert calls == [1], "the writer is still at it"

    take_all(outbox)
    outbox.offer(A)
    assert calls == [1, 1]


async def test_an_offer_that_is_refused_starts_no_writer() -> None:
    outbox = Outbox(10, 1)
    outbox.offer(A)
    outbox.take()
    outbox.starter = starter = Mock()
    outbox.offer(A)

    assert not outbox.offer(B)
    starter.start_writer.assert_not_called()


# Senders, which wait


async def test_put_waits_for_room_in_messages() -> None:
    outbox = Outbox(1, 100)
    outbox.offer(A)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.put, B)
        await wait_all_tasks_blocked()
        assert outbox.queued_messages == 1
        assert outbox.take() == [A]
        await wait_all_tasks_blocked()
        assert outbox.take() == [B]


async def test_put_waits_for_room_in_bytes() -> None:
    outbox = Outbox(10, 2)
    outbox.offer(A)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.put, Frame("bb"))
        await wait_all_tasks_blocked()
        assert outbox.queued_messages == 1
        outbox.take()

    assert outbox.queued_bytes == 2


@pytest.mark.parametrize(("max_messages", "max_bytes"), [(8, 1000), (1000, 8)])
async def test_senders_that_wait_leave_half_of_the_room_to_fan_outs(max_messages: int, max_bytes: int) -> None:
    outbox = Outbox(max_messages, max_bytes)

    async with trio.open_nursery() as nursery:

        async def put_for_ever() -> None:
            while True:
                await outbox.put(A)

        nursery.start_soon(put_for_ever)
        await wait_all_tasks_blocked()
        assert outbox.queued_messages == 4
        assert [outbox.offer(B) for _ in range(5)] == [True, True, True, True, False]
        nursery.cancel_scope.cancel()


async def test_every_sender_that_waits_is_served_once() -> None:
    outbox = Outbox(1, 100)
    outbox.offer(Frame("0"))
    frames = [Frame(str(number)) for number in range(1, 5)]
    taken: list[Frame] = []

    async with trio.open_nursery() as nursery:
        for frame in frames:
            nursery.start_soon(outbox.put, frame)
        while len(taken) < 5:
            await wait_all_tasks_blocked()
            taken += outbox.take()

    assert set(taken[1:]) == set(frames)


async def test_a_cancelled_put_has_queued_nothing() -> None:
    outbox = Outbox(1, 100)
    outbox.offer(A)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.put, B)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert take_all(outbox) == [A]


# Closing


async def test_what_is_queued_can_be_taken_after_the_close() -> None:
    outbox = Outbox(10, 100)
    outbox.offer(A)
    outbox.close(4000, "bye")

    assert outbox.take() == [A]
    assert outbox.take() == []


async def test_a_closed_outbox_raises_with_code_and_reason() -> None:
    outbox = Outbox(10, 100)
    outbox.close(4000, "bye")
    outbox.close(4001, "a second close does not count")

    with pytest.raises(WebSocketDisconnect) as caught:
        outbox.offer(A)
    assert (caught.value.code, caught.value.reason) == (4000, "bye")
    with pytest.raises(WebSocketDisconnect, match="4000"):
        await outbox.put(A)


async def test_closing_wakes_every_waiting_sender() -> None:
    outbox = Outbox(1, 100)
    outbox.offer(A)
    woken = 0

    async def put() -> None:
        nonlocal woken
        with pytest.raises(WebSocketDisconnect):
            await outbox.put(B)
        woken += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(put)
        nursery.start_soon(put)
        await wait_all_tasks_blocked()
        outbox.close(1000, "")

    assert woken == 2


async def test_discarding_drops_what_is_queued() -> None:
    outbox = Outbox(10, 100)
    outbox.offer(A)
    outbox.offer(B)

    outbox.discard()

    assert (outbox.queued_messages, outbox.queued_bytes) == (0, 0)
    assert outbox.take() == []
    outbox.close(1000, "")
    outbox.discard()
    assert outbox.take() == []
