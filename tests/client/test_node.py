"""The client's own tests, in Node, with fake time and fake sockets; and the wire vectors."""

from __future__ import annotations

import re

from tests.harness.node import run_node
from tests.harness.server import ROOT

FEWEST_TESTS = 240


def test_the_tests_of_the_client_pass_in_node() -> None:
    done = run_node("--test", "--test-timeout=10000", "--test-reporter=tap", cwd=ROOT / "js")

    assert done.returncode == 0, done.stdout + done.stderr
    counts = {name: int(count) for name, count in re.findall(r"^# (\w+) (\d+)$", done.stdout, re.MULTILINE)}
    assert counts["pass"] == counts["tests"] >= FEWEST_TESTS, counts
