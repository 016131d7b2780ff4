"""The example of `docs/messages.md` does what the page says."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from quart_wshub import ErrorCode, JWTUtils, MessageRouter, WSEnvelope
from quart_wshub.protocol.envelope import RESERVED_TYPES
from quart_wshub.testing import connect
from tests.unit.memory import assert_nothing_is_left

SECRET = "a secret that is long enough for HS256"

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "messages.md").read_text()


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("APP_SECRET", SECRET)
    [source] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    module = ModuleType("messages_page")
    monkeypatch.setitem(sys.modules, "messages_page", module)
    exec(compile(source, "docs/messages.md", "exec", dont_inherit=True), module.__dict__)
    return module


async def test_the_example_runs(example: Any) -> None:
    tokens = JWTUtils(secret=SECRET)
    async with (
        connect(example.app, token=tokens.encode("ann")) as ann,
        connect(example.app, token=tokens.encode("bob")) as bob,
    ):
        for client in (ann, bob):
            await client.send_envelope(WSEnvelope(type="subscribe", data={"topic": "chat:lobby"}, request_id="s"))
            await client.expect("subscribe.reply")
        await ann.send_envelope(
            WSEnvelope(type="chat.send", data={"room": "lobby", "text": "hi"}, request_id="1"),
        )
        sent = await ann.expect("chat.message")
        assert sent.data["text"] == "hi"
        assert (await ann.expect("chat.send.reply")).data == {"id": sent.data["id"]}
        assert await bob.expect("chat.message") == sent

        example.banned.add("bob")
        await bob.send_envelope(WSEnvelope(type="chat.send", data={"room": "lobby", "text": "hi"}, request_id="2"))
        assert (await bob.expect("error")).data["code"] == "forbidden"
        await ann.close()
        assert (await bob.expect("user.left")).data == {"user": "ann"}
    assert_nothing_is_left(example.hub)


def test_the_page_lists_every_code_and_whether_it_counts() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \|.*\|( yes)? \|$", PAGE, re.MULTILINE)

    assert {code: bool(yes) for code, yes in rows} == {str(code): code.counts_as_bad for code in ErrorCode}


def test_the_page_lists_every_reserved_type_and_every_decorator() -> None:
    for word in (*RESERVED_TYPES, "on_connect", "on_disconnect", "on_binary", "on_error", "authorize", "on", "sends"):
        assert f"`{word}`" in PAGE or f"messages.{word}" in PAGE, word
        assert word in RESERVED_TYPES or hasattr(MessageRouter, word)
