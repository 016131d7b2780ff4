"""The messages between nodes and their form on the wire. Versioned: nodes of different releases may share a broker.

The first byte is the version, the second the kind, and twelve more name the node a message comes from. A publication
follows as it is, so it is encoded only once, whatever its destinations; everything else is JSON.

    1d<node><text>                      a publication
    1x<node><connection id><text>       a publication to all but one connection
    1c<node><JSON>                      a request or a response

The audience of a publication, or the subject of a request, is given by the channel it arrives on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import to_json

from quart_wshub.cluster.channels import parse_user_key
from quart_wshub.cluster.node_ids import NODE_DIGITS, is_node_id
from quart_wshub.cluster.outcome import Outcome
from quart_wshub.protocol.close_codes import CloseCode, validate_close

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "NO_RESPONSE",
    "CancelRequest",
    "CloseConnection",
    "CloseUser",
    "Control",
    "CountConnections",
    "CountTopic",
    "ListSockets",
    "ListUsers",
    "Publication",
    "Request",
    "RequestClient",
    "Response",
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

NO_RESPONSE = 0
"""The `ref` of a request that wants no response."""


class UnreadableError(ValueError):
    """A message that this release cannot read; the text says why, and quotes nothing of its content."""


@dataclass(frozen=True, slots=True)
class Publication:
    """An encoded envelope for sockets, except the connection `exclude`."""

    text: str
    exclude: UUID | None = None


def _valid_if(check: Callable[[Any], object]) -> AfterValidator:
    """Accept only values for which `check` raises no `ValueError`."""

    def validate(value: Any) -> Any:
        check(value)
        return value

    return AfterValidator(validate)


UserKey = Annotated[str, _valid_if(parse_user_key)]
Code = Annotated[int, _valid_if(lambda code: validate_close(code, ""))]
Reason = Annotated[str, _valid_if(lambda reason: validate_close(CloseCode.NORMAL, reason))]


class _Control(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True)


class _Request(_Control):
    """`ref` identifies the request among those of the node that sent it."""

    ref: int


class CountConnections(_Request):
    """Count the node's connections."""

    kind: Literal["connections"] = "connections"


class CountTopic(_Request):
    """Count the subscribers of this channel's topic."""

    kind: Literal["topic"] = "topic"


class ListUsers(_Request):
    """List the connected users."""

    kind: Literal["users"] = "users"


class ListSockets(_Request):
    """List the sockets of this channel's user, with the time each was made."""

    kind: Literal["sockets"] = "sockets"


class _Close(_Request):
    code: Code
    reason: Reason


class CloseUser(_Close):
    """Close the sockets of this channel's user; the response says how many."""

    kind: Literal["close_user"] = "close_user"


class CloseConnection(_Close):
    """Close this connection; the response is 1, or 0 if there is no such connection."""

    kind: Literal["close"] = "close"
    connection_id: UUID


class RevokeUser(_Request):
    """Close the user's sockets and refuse handshakes under way; the response says how many sockets."""

    kind: Literal["revoke"] = "revoke"
    user: UserKey
    reason: Reason


class RequestClient(_Request):
    """Send the envelope in `text` to this connection as a request; the response is the outcome.

    Attributes:
        timeout: seconds; `None` for no limit.
    """

    kind: Literal["request"] = "request"
    connection_id: UUID
    text: str
    timeout: float | None = Field(ge=0, allow_inf_nan=False)


class CancelRequest(_Control):
    """Nobody waits for the response to the request `ref` any more."""

    kind: Literal["give_up"] = "give_up"
    ref: int


class Response(_Control):
    """One of the `parts` of a node's response to the request `ref`; `part` counts from 0.

    Attributes:
        value: a number.
        users: keys of users.
        sockets: a user's connections, each with the time it was made, in microseconds since 1970.
        outcome: of a request to a client.
    """

    kind: Literal["answer"] = "answer"
    ref: int
    part: int = Field(default=0, ge=0)
    parts: int = Field(default=1, ge=1)
    value: int = 0
    users: tuple[UserKey, ...] = ()
    sockets: tuple[tuple[int, UUID], ...] = ()
    outcome: Outcome | None = None


Request = (
    CountConnections | CountTopic | ListUsers | ListSockets | CloseUser | CloseConnection | RevokeUser | RequestClient
)

Control = Request | Response | CancelRequest

_CONTROLS: TypeAdapter[Control] = TypeAdapter(Annotated[Control, Field(discriminator="kind")])


def encode_publication(origin: str, text: str, exclude: UUID | None = None) -> bytes:
    """The bytes of a publication by the node `origin`."""
    if exclude is None:
        return b"".join((_TO_ALL, origin.encode(), text.encode()))
    return b"".join((_TO_ALL_BUT_ONE, origin.encode(), exclude.hex.encode(), text.encode()))


def encode_control(origin: str, message: Control) -> bytes:
    """The bytes of a request or response by the node `origin`."""
    return b"".join((_CONTROL, origin.encode(), to_json(message)))


def own_publication_prefixes(origin: str) -> tuple[bytes, bytes]:
    """What a node's own publications start with, to recognise them without decoding."""
    return _TO_ALL + origin.encode(), _TO_ALL_BUT_ONE + origin.encode()


def decode(message: bytes) -> tuple[str, Publication | Control]:
    """The node a message comes from, and its content.

    Raises:
        UnreadableError: it has another version or an unknown kind, or is malformed.
    """
    if message[:1] != VERSION:
        raise UnreadableError(f"version {message[:1]!r}")
    origin = message[2:_BODY].decode(errors="replace")
    if not is_node_id(origin):
        raise UnreadableError("malformed: no node")
    try:
        return origin, _decode_body(message[:2], message[_BODY:])
    except UnreadableError:
        raise
    except ValidationError as error:
        detail = error.errors(include_input=False, include_context=False, include_url=False)[0]
        location = ".".join(map(str, detail["loc"])) or "the top"
        raise UnreadableError(f"malformed: {detail['type']} at {location}") from None
    except ValueError as error:
        raise UnreadableError(f"malformed: {type(error).__name__}") from None


def _decode_body(start: bytes, body: bytes) -> Publication | Control:
    if start == _TO_ALL:
        return Publication(body.decode())
    if start == _TO_ALL_BUT_ONE:
        return Publication(body[_ID_DIGITS:].decode(), UUID(hex=body[:_ID_DIGITS].decode("ascii")))
    if start == _CONTROL:
        return _CONTROLS.validate_json(body)
    raise UnreadableError(f"kind {start[1:]!r}")
