"""What nodes say to each other, and its form on the wire. Versioned: nodes of different releases may share a broker.

The first byte is the version, the second the kind, and twelve more name the node a message comes from. A publication
follows as it is, so that it is encoded once, wherever it goes; everything else is JSON.

    1d<node><text>                      a publication
    1x<node><connection id><text>       a publication for all but one connection
    1c<node><JSON>                      a question, an answer, a command

To whom a publication goes, and whom a question is about, is in the name of the channel it comes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import to_json

from quart_wshub.cluster.channels import parse_user_key
from quart_wshub.cluster.node_ids import NODE_DIGITS, is_node_id
from quart_wshub.protocol.close_codes import CloseCode, validate_close

__all__ = [
    "NO_ANSWER_WANTED",
    "Answer",
    "AskClient",
    "CloseConnection",
    "CloseUser",
    "Control",
    "CountConnections",
    "CountTopic",
    "GiveUp",
    "ListSockets",
    "ListUsers",
    "Outcome",
    "Publication",
    "Question",
    "RevokeUser",
    "UnreadableError",
    "decode",
    "encode_control",
    "encode_publication",
    "own_publication_prefixes",
]

VERSION = b"1"

_TO_ALL = VERSION + b"d"
_TO_ALL_BUT_ONE = VERSION + b"x"
_CONTROL = VERSION + b"c"
_BODY = 2 + NODE_DIGITS
_ID_DIGITS = 32


NO_ANSWER_WANTED = 0
"""The `ref` of what is asked for without a question."""


class UnreadableError(ValueError):
    """A message that this release cannot read; the text says why, and nothing of what is in it."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What goes to sockets as it is, but not to the connection `exclude`."""

    text: str
    exclude: UUID | None = None


def _user_key(key: str) -> str:
    parse_user_key(key)
    return key


def _code(code: int) -> int:
    validate_close(code, "")
    return code


def _reason(reason: str) -> str:
    validate_close(CloseCode.NORMAL, reason)
    return reason


UserKey = Annotated[str, AfterValidator(_user_key)]
Reason = Annotated[str, AfterValidator(_reason)]


class _Control(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True)


class _Question(_Control):
    """`ref` is the asking node's own name for the question."""

    ref: int


class CountConnections(_Question):
    """How many sockets do you have?"""

    kind: Literal["connections"] = "connections"


class CountTopic(_Question):
    """How many subscribers of this channel's topic do you have?"""

    kind: Literal["topic"] = "topic"


class ListUsers(_Question):
    """Which users are with you?"""

    kind: Literal["users"] = "users"


class ListSockets(_Question):
    """Which sockets of this channel's user are with you, and since when?"""

    kind: Literal["sockets"] = "sockets"


class _Close(_Question):
    code: Annotated[int, AfterValidator(_code)]
    reason: Reason


class CloseUser(_Close):
    """Close the sockets of this channel's user, and say how many."""

    kind: Literal["close_user"] = "close_user"


class CloseConnection(_Close):
    """Close this connection, and say how many that were."""

    kind: Literal["close"] = "close"
    connection_id: UUID


class RevokeUser(_Question):
    """Let in nobody whose token was resolved for this user before; close the user's sockets, and say how many."""

    kind: Literal["revoke"] = "revoke"
    user: UserKey
    reason: Reason


class AskClient(_Question):
    """Send the envelope in `text` to this connection as a request, and tell the outcome.

    Attributes:
        timeout: seconds; `None` for as long as it takes.
    """

    kind: Literal["request"] = "request"
    connection_id: UUID
    text: str
    timeout: float | None = Field(ge=0, allow_inf_nan=False)


class GiveUp(_Control):
    """Nobody waits for the answer to the question `ref` any more."""

    kind: Literal["give_up"] = "give_up"
    ref: int


class Outcome(BaseModel):
    """How a request to a client ended.

    Attributes:
        text: the reply's envelope; or the reason with which the connection was closed.
        code: the code with which it was closed.
        error: code, message and details of the client's error.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True)

    kind: Literal["reply", "unknown", "closed", "timeout", "limit", "failed"]
    text: str = ""
    code: int = 0
    error: tuple[str, str, Any] = ("", "", None)


class Answer(_Control):
    """One of the `parts` of a node's answer to the question `ref`, counted from 0.

    Attributes:
        value: a number.
        users: keys of users.
        sockets: a user's connections, each with the time it was made, in microseconds since 1970.
        outcome: of a request.
    """

    kind: Literal["answer"] = "answer"
    ref: int
    part: int = Field(default=0, ge=0)
    parts: int = Field(default=1, ge=1)
    value: int = 0
    users: tuple[UserKey, ...] = ()
    sockets: tuple[tuple[int, UUID], ...] = ()
    outcome: Outcome | None = None


Question = (
    CountConnections | CountTopic | ListUsers | ListSockets | CloseUser | CloseConnection | RevokeUser | AskClient
)

Control = Question | Answer | GiveUp

_CONTROLS: TypeAdapter[Control] = TypeAdapter(Annotated[Control, Field(discriminator="kind")])


def encode_publication(origin: str, text: str, exclude: UUID | None = None) -> bytes:
    """The bytes of a publication that comes from the node `origin`."""
    if exclude is None:
        return b"".join((_TO_ALL, origin.encode(), text.encode()))
    return b"".join((_TO_ALL_BUT_ONE, origin.encode(), exclude.hex.encode(), text.encode()))


def encode_control(origin: str, message: Control) -> bytes:
    """The bytes of anything else."""
    return b"".join((_CONTROL, origin.encode(), to_json(message)))


def own_publication_prefixes(origin: str) -> tuple[bytes, bytes]:
    """What a node's own publications begin with, to tell without reading them."""
    return _TO_ALL + origin.encode(), _TO_ALL_BUT_ONE + origin.encode()


def decode(message: bytes) -> tuple[str, Publication | Control]:
    """The node a message comes from, and the message.

    Raises:
        UnreadableError: it is of another version, of an unknown kind, or malformed.
    """
    if message[:1] != VERSION:
        msg = f"version {message[:1]!r}"
        raise UnreadableError(msg)
    origin = message[2:_BODY].decode(errors="replace")
    if not is_node_id(origin):
        msg = "malformed: no node"
        raise UnreadableError(msg)
    try:
        return origin, _decode_body(message[:2], message[_BODY:])
    except UnreadableError:
        raise
    except ValidationError as error:
        detail = error.errors(include_input=False, include_context=False, include_url=False)[0]
        msg = f"malformed: {detail['type']} at {'.'.join(map(str, detail['loc'])) or 'the top'}"
        raise UnreadableError(msg) from None
    except ValueError as error:
        msg = f"malformed: {type(error).__name__}"
        raise UnreadableError(msg) from None


def _decode_body(start: bytes, body: bytes) -> Publication | Control:
    if start == _TO_ALL:
        return Publication(body.decode())
    if start == _TO_ALL_BUT_ONE:
        return Publication(body[_ID_DIGITS:].decode(), _connection_id(body[:_ID_DIGITS]))
    if start == _CONTROL:
        return _CONTROLS.validate_json(body)
    msg = f"kind {start[1:]!r}"
    raise UnreadableError(msg)


def _connection_id(digits: bytes) -> UUID:
    if len(digits) != _ID_DIGITS:
        msg = "too short"
        raise ValueError(msg)
    return UUID(hex=digits.decode("ascii"))
