"""The envelope: what it is on the wire, and what is none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from quart_wshub.protocol.close_codes import CloseCode
from quart_wshub.protocol.envelope import WSEnvelope, is_envelope_error
from quart_wshub.protocol.errors import InvalidEnvelopeError, InvalidJSONError
from quart_wshub.protocol.inbound import loads

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)

envelopes = st.builds(
    WSEnvelope,
    type=st.text(min_size=1),
    data=st.dictionaries(st.text(), json_values),
    request_id=st.none() | st.text(),
)


@given(envelopes)
def test_encode_and_decode_are_inverse(envelope: WSEnvelope) -> None:
    assert WSEnvelope.decode(envelope.encode()) == envelope


@given(envelopes)
def test_encoding_is_one_json_object_with_all_three_keys(envelope: WSEnvelope) -> None:
    assert json.loads(envelope.encode()) == {
        "type": envelope.type,
        "data": envelope.data,
        "request_id": envelope.request_id,
    }


def test_the_wire_form_of_the_defaults() -> None:
    assert WSEnvelope(type="ping").encode() == '{"type":"ping","data":{},"request_id":null}'


def test_each_envelope_has_data_of_its_own() -> None:
    WSEnvelope(type="a").data["x"] = 1

    assert WSEnvelope(type="a").data == {}


def test_unknown_keys_are_ignored() -> None:
    assert WSEnvelope.decode('{"type":"a","version":2}') == WSEnvelope(type="a")


NO_JSON = {
    "empty": "",
    "blank": " ",
    "word": "hello",
    "single quotes": "{'type': 'a'}",
    "cut off": '{"type":"a"',
    "trailing text": '{"type":"a"} x',
    "trailing comma": '{"type":"a",}',
    "NaN": '{"type":"a","data":{"x":NaN}}',
    "Infinity": '{"type":"a","data":{"x":-Infinity}}',
    "lone surrogate": '{"type":"a","data":{"x":"\\ud800"}}',
    "control character": '{"type":"a\n"}',
    "5,000 deep": '{"type":"a","data":' + '{"x":' * 5000 + "1" + "}" * 5001,
    "number of 5,000 digits": '{"type":"a","data":{"x":' + "9" * 5000 + "}}",
    "NUL": "\0",
}

NO_ENVELOPE = {
    "null": ("null", "(root)"),
    "number": ("1", "(root)"),
    "text": ('"ping"', "(root)"),
    "list": ('[{"type":"a"}]', "(root)"),
    "empty object": ("{}", "type"),
    "empty type": ('{"type":""}', "type"),
    "type null": ('{"type":null}', "type"),
    "type number": ('{"type":1}', "type"),
    "data null": ('{"type":"a","data":null}', "data"),
    "data list": ('{"type":"a","data":[]}', "data"),
    "request_id number": ('{"type":"a","request_id":7}', "request_id"),
    "all wrong": ('{"type":"","data":1,"request_id":2}', "type, data, request_id"),
}


@pytest.mark.parametrize("text", NO_JSON.values(), ids=NO_JSON)
class TestNoJSON:
    def test_loads(self, text: str) -> None:
        with pytest.raises(InvalidJSONError, match=r"^message is not JSON: ") as info:
            loads(text)
        assert info.value.close_code is CloseCode.INVALID_PAYLOAD

    def test_decode(self, text: str) -> None:
        with pytest.raises(InvalidJSONError, match=r"^message is not JSON: "):
            WSEnvelope.decode(text)


class TestNoEnvelope:
    @pytest.mark.parametrize(("text", "where"), NO_ENVELOPE.values(), ids=NO_ENVELOPE)
    def test_message_names_the_keys(self, text: str, where: str) -> None:
        with pytest.raises(InvalidEnvelopeError) as info:
            WSEnvelope.decode(text)
        assert str(info.value) == f"message is not an envelope: {where}"
        assert info.value.close_code is CloseCode.INVALID_PAYLOAD

    @pytest.mark.parametrize(
        "text", ['{"type":1,"data":"hidden"}', '{"type":"hidden","data":[]}', '"hidden"', '{"hidden"']
    )
    def test_message_shows_no_values(self, text: str) -> None:
        with pytest.raises((InvalidEnvelopeError, InvalidJSONError)) as info:
            WSEnvelope.decode(text)
        assert "hidden" not in str(info.value)
        assert info.value.__suppress_context__


@given(json_values)
def test_loads_agrees_with_the_standard_library(value: Any) -> None:
    text = json.dumps(value)

    assert loads(text) == json.loads(text)


@given(st.text())
def test_any_text_is_an_envelope_or_the_peers_fault(text: str) -> None:
    try:
        WSEnvelope.decode(text)
    except (InvalidJSONError, InvalidEnvelopeError):
        return


class Other(BaseModel):
    type: str


class TestWhoseValidationError:
    def test_of_the_envelope(self) -> None:
        with pytest.raises(ValidationError) as info:
            WSEnvelope.model_validate({})
        assert is_envelope_error(info.value)

    def test_of_another_model(self) -> None:
        with pytest.raises(ValidationError) as info:
            Other.model_validate({})
        assert not is_envelope_error(info.value)

    @pytest.mark.parametrize("error", [ValueError("WSEnvelope"), InvalidEnvelopeError(), KeyError("type")])
    def test_of_no_model(self, error: Exception) -> None:
        assert not is_envelope_error(error)
