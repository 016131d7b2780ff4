"""The mapping of snapshots: nobody can change it, everybody can copy it."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import asdict
from typing import Any

import pytest

from quart_wshub import CloseCode, WebSocketHub
from quart_wshub.connection.session import EndingKind
from quart_wshub.frozen import FrozenMapping
from tests.unit.fakes import join


def test_it_is_a_mapping_equal_to_what_it_was_made_from() -> None:
    source = {1000: 2, 4401: 1}
    frozen = FrozenMapping(source)
    source[1000] = 9

    assert frozen == {1000: 2, 4401: 1}
    assert (len(frozen), list(frozen), frozen[4401], frozen.get(1)) == (2, [1000, 4401], 1, None)
    assert repr(frozen) == "FrozenMapping({1000: 2, 4401: 1})"


def test_it_cannot_be_changed() -> None:
    frozen: Any = FrozenMapping({1000: 2})

    with pytest.raises(TypeError):
        frozen[1000] = 3
    with pytest.raises(TypeError):
        del frozen[1000]
    with pytest.raises(AttributeError):
        frozen.clear()
    with pytest.raises(AttributeError):
        frozen.extra = 1


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, lambda frozen: pickle.loads(pickle.dumps(frozen))])
def test_its_copies_are_plain_and_ones_own(make: Any) -> None:
    frozen = FrozenMapping({1000: 2})

    made = make(frozen)
    assert type(made) is dict
    assert made == {1000: 2}
    made[1000] = 3
    assert frozen == {1000: 2}


async def test_the_statistics_of_a_hub_become_json_the_usual_way() -> None:
    hub = WebSocketHub()
    join(hub).begin_close(CloseCode.HEARTBEAT_TIMEOUT, kind=EndingKind.SERVER_CLOSED)

    facts = asdict(hub.statistics())
    assert facts["closed"] == {4408: 1}
    assert json.loads(json.dumps(facts))["closed"] == {"4408": 1}

    facts["closed"][4408] = 7
    assert hub.statistics().closed == {4408: 1}
