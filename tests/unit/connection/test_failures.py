"""What follows from an exception that left a handler: the close code, and the log line."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from pydantic import BaseModel, ValidationError

from quart_wshub.connection.failures import close_code_for, log_failure
from quart_wshub.protocol.close_codes import CloseCode
from quart_wshub.protocol.envelope import WSEnvelope
from quart_wshub.protocol.errors import (
    InvalidEnvelopeError,
    InvalidJSONError,
    InvalidTopicError,
    MessageTooBigError,
    PeerError,
    TopicLimitError,
    UnsupportedDataError,
    UsageError,
    WebSocketDisconnect,
)

if TYPE_CHECKING:
    from quart_wshub.connection.session import Session


class Message(BaseModel):
    text: str


def validation_error(model: type[BaseModel], value: object) -> ValidationError:
    with pytest.raises(ValidationError) as info:
        model.model_validate(value)
    return info.value


class RateLimitError(PeerError):
    """As an app may define its own."""

    close_code = CloseCode.FORBIDDEN


GONE = WebSocketDisconnect(1001)
BUG = RuntimeError("bug")
NO_ENVELOPE = validation_error(WSEnvelope, {"type": "hidden", "data": "hidden"})
NO_MESSAGE = validation_error(Message, {})

FAILURES: dict[str, tuple[BaseException, CloseCode]] = {
    "disconnect": (GONE, CloseCode.NORMAL),
    "not JSON": (InvalidJSONError("x"), CloseCode.INVALID_PAYLOAD),
    "no envelope": (InvalidEnvelopeError("x"), CloseCode.INVALID_PAYLOAD),
    "envelope's ValidationError": (NO_ENVELOPE, CloseCode.INVALID_PAYLOAD),
    "another model's ValidationError": (NO_MESSAGE, CloseCode.INTERNAL_ERROR),
    "binary": (UnsupportedDataError("x"), CloseCode.UNSUPPORTED_DATA),
    "too big": (MessageTooBigError("x"), CloseCode.MESSAGE_TOO_BIG),
    "topic": (InvalidTopicError("x"), CloseCode.POLICY_VIOLATION),
    "too many topics": (TopicLimitError("x"), CloseCode.POLICY_VIOLATION),
    "app's own": (RateLimitError("x"), CloseCode.FORBIDDEN),
    "misuse": (UsageError("x"), CloseCode.INTERNAL_ERROR),
    "bug": (BUG, CloseCode.INTERNAL_ERROR),
    "exit": (SystemExit(), CloseCode.INTERNAL_ERROR),
    "group of disconnects": (ExceptionGroup("", [GONE, GONE]), CloseCode.NORMAL),
    "disconnect and peer": (ExceptionGroup("", [GONE, MessageTooBigError("x")]), CloseCode.MESSAGE_TOO_BIG),
    "first of two peers'": (
        ExceptionGroup("", [MessageTooBigError("x"), InvalidJSONError("x")]),
        CloseCode.MESSAGE_TOO_BIG,
    ),
    "peer and bug": (ExceptionGroup("", [MessageTooBigError("x"), BUG]), CloseCode.INTERNAL_ERROR),
    "disconnect and bug": (ExceptionGroup("", [GONE, BUG]), CloseCode.INTERNAL_ERROR),
    "nested": (
        ExceptionGroup("", [GONE, ExceptionGroup("", [NO_ENVELOPE, ExceptionGroup("", [BUG])])]),
        CloseCode.INTERNAL_ERROR,
    ),
    "nested, the peer's": (
        ExceptionGroup("", [ExceptionGroup("", [NO_ENVELOPE])]),
        CloseCode.INVALID_PAYLOAD,
    ),
    "group with an exit": (BaseExceptionGroup("", [SystemExit(), GONE]), CloseCode.INTERNAL_ERROR),
}

CONNECTION_ID = UUID(int=7)


def connection() -> Session:
    fake: Any = SimpleNamespace(connection_id=CONNECTION_ID, user_id="ann")
    return fake  # type: ignore[no-any-return]


@pytest.mark.parametrize(("error", "code"), FAILURES.values(), ids=FAILURES)
class TestEveryFailure:
    def test_has_its_close_code(self, error: BaseException, code: CloseCode) -> None:
        assert close_code_for(error) is code

    def test_is_logged_at_most_once_with_connection_and_user(
        self, error: BaseException, code: CloseCode, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "quart_wshub")

        log_failure(connection(), error, code)

        if code is CloseCode.NORMAL:
            assert not caplog.records
            return
        (record,) = caplog.records
        assert f"connection={CONNECTION_ID} user='ann'" in record.getMessage()
        if code is CloseCode.INTERNAL_ERROR:
            assert record.levelno == logging.ERROR
            assert record.exc_info is not None
            assert record.exc_info[1] is error
        else:
            assert record.levelno == logging.INFO
            assert record.exc_info is None
            assert "\n" not in record.getMessage()


def test_a_line_names_the_code_and_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "quart_wshub")

    log_failure(connection(), ExceptionGroup("", [GONE, TopicLimitError("128 topics")]), CloseCode.POLICY_VIOLATION)

    assert caplog.messages == [f"closing with 1008: connection={CONNECTION_ID} user='ann': 128 topics"]


def test_what_the_peer_sent_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "quart_wshub")

    log_failure(connection(), NO_ENVELOPE, CloseCode.INVALID_PAYLOAD)

    assert "message is not an envelope" in caplog.text
    assert "hidden" not in caplog.text
