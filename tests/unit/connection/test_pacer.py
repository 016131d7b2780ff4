"""The pacer: every step can be cancelled, every 64th yields to other tasks."""

from __future__ import annotations

import trio
from trio.testing import assert_checkpoints

from quart_wshub.connection.pacer import YIELD_EVERY, Pacer


async def test_every_step_can_be_cancelled() -> None:
    pacer = Pacer()
    for _ in range(YIELD_EVERY * 2):
        with trio.CancelScope() as scope:
            scope.cancel()
            await pacer.checkpoint()
        assert scope.cancelled_caught


async def test_every_64th_step_yields_to_other_tasks() -> None:
    pacer = Pacer()
    for _ in range(3):
        with assert_checkpoints():
            for _ in range(YIELD_EVERY):
                await pacer.checkpoint()


async def test_the_steps_between_do_not_yield() -> None:
    pacer, turns = Pacer(), 0

    async def sibling() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sibling)
        for _ in range(YIELD_EVERY * 10):
            await pacer.checkpoint()
        nursery.cancel_scope.cancel()

    assert turns <= 10
