"""The client's table of close codes is the server's."""

from __future__ import annotations

import json

from quart_wshub import CloseCode
from tests.harness.node import run_node
from tests.harness.server import ROOT

SHOW = 'import { CLOSE_CODES } from "./quart_wshub/static/wshub.js"; console.log(JSON.stringify(CLOSE_CODES))'


def test_the_client_has_the_table_of_the_server() -> None:
    done = run_node("--input-type=module", "--eval", SHOW, cwd=ROOT)

    assert json.loads(done.stdout) == {
        str(int(code)): {"name": code.name.lower(), "reason": code.reason, "reconnect": code.reconnect}
        for code in CloseCode
    }
