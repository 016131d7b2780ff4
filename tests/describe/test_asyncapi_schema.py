"""The AsyncAPI document against the specification's schema, and against the messages it describes."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft7Validator

from quart_wshub import MessageRouter
from quart_wshub.description.asyncapi import asyncapi
from tests.describe.app import messages
from tests.describe.routers import router_of
from tests.describe.variety import ROUNDS, make_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Document = dict[str, Any]


@pytest.fixture(scope="session")
def specification(npm_modules: Path) -> Draft7Validator:
    schema = json.loads((npm_modules / "@asyncapi" / "specs" / "schemas" / "3.0.0-without-$id.json").read_text())
    return Draft7Validator(schema)


@pytest.fixture
def document() -> Document:
    return asyncapi(messages, host="chat.example.com", path="/ws/<int:room>")


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def resolve(document: Document, reference: str) -> Any:
    assert reference.startswith("#/")
    found = document
    for part in reference[2:].split("/"):
        found = found[part.replace("~1", "/").replace("~0", "~")]
    return found


@pytest.mark.parametrize("router", [messages, MessageRouter()], ids=["chat", "empty"])
@pytest.mark.parametrize(
    "options", [{}, {"host": "a.example", "secure": False, "path": "/<a>/<path:b>", "description": "."}]
)
def test_the_document_is_valid(specification: Draft7Validator, router: MessageRouter, options: dict[str, Any]) -> None:
    document = json.loads(json.dumps(asyncapi(router, **options)))

    assert [error.message for error in specification.iter_errors(document)] == []
    for reference in references(document):
        resolve(document, reference)


BREAKAGES: dict[str, Callable[[Document], object]] = {
    "no version": lambda document: document["info"].pop("version"),
    "another specification": lambda document: document.update(asyncapi="2.6.0"),
    "no action": lambda document: document["operations"]["client.chat.send"].pop("action"),
    "an unknown action": lambda document: document["operations"]["client.chat.send"].update(action="publish"),
    "an unknown key": lambda document: document["channels"]["ws"].update(adress="/ws"),
    "an invalid correlation id": lambda document: document["components"]["correlationIds"]["requestId"].update(
        location="x"
    ),
    "an unknown scheme": lambda document: document["components"]["securitySchemes"]["query"].update(type="token"),
    "an invalid schema": lambda document: document["components"]["schemas"]["ChatSend"].update(type="text"),
    "OpenAPI's discriminator": lambda document: document["components"]["schemas"]["ChatSend"].update(
        discriminator={"propertyName": "kind"}
    ),
    "an unknown method": lambda document: document["channels"]["ws"]["bindings"]["ws"].update(method="PUT"),
}


def test_a_broken_document_is_not_valid(specification: Draft7Validator, document: Document) -> None:
    for name, break_it in BREAKAGES.items():
        broken = copy.deepcopy(document)
        break_it(broken)

        assert not specification.is_valid(broken), name


# What the schemas accept


def validator(document: Document, schema: Any) -> Draft7Validator:
    return Draft7Validator({**copy.deepcopy(schema), "components": document["components"]})


def of_message(document: Document, key: str) -> Draft7Validator:
    return validator(document, document["components"]["messages"][key]["payload"])


RIGHT: list[tuple[str, Document]] = [
    ("client.chat.send", {"type": "chat.send", "data": {"room": "a", "body": {"kind": "text", "text": "hi"}}}),
    (
        "client.chat.send",
        {
            "type": "chat.send",
            "request_id": "1",
            "data": {
                "room": "a",
                "body": {"kind": "picture", "url": "b", "size": [1, 2]},
                "reply_to": None,
                "colour": "blue",
                "tags": {"a": ["b"]},
                "in-reply": 5,
            },
        },
    ),
    ("client.chat_typing", {"type": "chat/typing"}),
    ("client.chat_typing", {"type": "chat/typing", "data": {"answers": [{}, {"answers": [{}]}]}, "request_id": None}),
    ("client.raw", {"type": "raw", "data": {"any": ["thing"]}}),
    ("client.ping", {"type": "ping"}),
    ("client.subscribe", {"type": "subscribe", "data": {"topic": "chat:1"}, "request_id": "x"}),
    ("server.raw", {"type": "raw", "data": {"a": ["b"]}, "request_id": None}),
    ("server.chat_typing.reply", {"type": "chat/typing.reply", "data": {}, "request_id": "1"}),
    ("server.error", {"type": "error", "data": {"code": "too_rude", "message": "", "details": []}, "request_id": None}),
    ("server.gap", {"type": "gap", "data": {"topics": None}, "request_id": None}),
]

WRONG: list[tuple[str, Document]] = [
    ("client.chat.send", {"type": "chat.send"}),
    ("client.chat.send", {"type": "chat.sent", "data": {"room": "a", "body": {"kind": "text", "text": "hi"}}}),
    ("client.chat.send", {"type": "chat.send", "data": {"room": "a", "body": {"text": "no kind"}}}),
    ("client.chat.send", {"type": "chat.send", "data": {"room": "a", "body": {"kind": "text", "text": ""}}}),
    ("client.chat.send", {"type": "chat.send", "data": {"room": "a", "body": {"kind": "text", "text": "a"}, "x": 1}}),
    (
        "client.chat.send",
        {"type": "chat.send", "data": {"room": "a", "body": {"kind": "picture", "url": "b", "size": [1, 2, 3]}}},
    ),
    (
        "client.chat.send",
        {"type": "chat.send", "data": {"room": "a", "body": {"kind": "picture", "url": "b", "size": ["1", 2]}}},
    ),
    ("client.chat_typing", {"type": "chat/typing", "data": {"answers": [{"answers": 5}]}}),
    ("client.raw", {"type": "raw", "data": []}),
    ("client.subscribe", {"type": "subscribe", "data": {"topic": ""}}),
    ("client.subscribe", {"type": "subscribe", "data": {"topic": "a"}, "request_id": 5}),
    ("server.raw", {"type": "raw", "data": {"a": ["b"]}}),
    ("server.chat_typing.reply", {"type": "chat/typing.reply", "data": {}, "request_id": None}),
    ("server.error", {"type": "error", "data": {"code": "rude", "message": "", "details": []}, "request_id": None}),
]


def test_a_message_that_is_right_is_valid(document: Document) -> None:
    for key, envelope in RIGHT:
        assert [error.message for error in of_message(document, key).iter_errors(envelope)] == [], envelope


def test_a_message_that_is_wrong_is_not_valid(document: Document) -> None:
    for key, envelope in WRONG:
        assert not of_message(document, key).is_valid(envelope), envelope


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_what_a_model_accepts_and_produces_is_valid(specification: Draft7Validator, seed: int) -> None:
    samples = make_samples(seed)
    document = asyncapi(router_of({sample.name: sample.model for sample in samples}))

    assert [error.message for error in specification.iter_errors(document)] == []
    for sample in samples:
        for sender, data in (("client", sample.received), ("server", sample.sent)):
            payload = of_message(document, f"{sender}.{sample.name}")
            envelope = {"type": sample.name, "data": data, "request_id": None}
            assert [error.message for error in payload.iter_errors(envelope)] == [], sample.model.__annotations__
