"""One HTTP request on a connection of its own, so that none is left open."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.harness.server import Server

__all__ = ["Answer", "get", "post"]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: str

    def json(self) -> Any:
        return json.loads(self.body)


def get(server: Server, path: str, *, timeout: float = 10) -> Answer:
    return _request(server, "GET", path, None, timeout)


def post(server: Server, path: str, arguments: object = None, *, timeout: float = 10) -> Any:
    """Post `arguments` as JSON; returns the `result` of the answer, which must be a 200."""
    answer = _request(server, "POST", path, json.dumps(arguments), timeout)
    assert answer.status == 200, answer
    return answer.json().get("result")


def _request(server: Server, method: str, path: str, body: str | None, timeout: float) -> Answer:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=timeout)
    try:
        headers = {"Connection": "close", "Content-Type": "application/json"}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        fields = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, fields, response.read().decode())
    finally:
        connection.close()
