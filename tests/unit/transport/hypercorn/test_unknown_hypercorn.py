"""With a hypercorn nobody has tested, whose private modules are gone, an app is imported and serves over ASGI."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

SCRIPT = dedent("""
    import importlib.metadata
    import logging
    import sys

    import quart_trio

    class Gone:
        def find_spec(self, name, path=None, target=None):
            if name.startswith("hypercorn."):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    for name in [name for name in sys.modules if name.startswith("hypercorn.")]:
        if name not in {"hypercorn.config", "hypercorn.trio", "hypercorn.typing"}:
            del sys.modules[name]
            parent, _, child = name.rpartition(".")
            if parent in sys.modules:
                vars(sys.modules[parent]).pop(child, None)
    sys.meta_path.insert(0, Gone())
    installed = importlib.metadata.version
    importlib.metadata.version = lambda name: "99.0" if name == "hypercorn" else installed(name)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stdout)

    import trio
    from quart_wshub import WebSocketHub, WebSocketSettings, make_websocket_blueprint
    from quart_wshub.testing import connect

    async def resolve(token):
        return token

    async def echo(ws, connection, hub):
        async for text in ws:
            await ws.send(f"{connection.user_id}: {text}")

    app = quart_trio.QuartTrio(__name__)
    settings = WebSocketSettings()
    app.register_blueprint(
        make_websocket_blueprint(echo, hub=WebSocketHub(), bearer_resolver=resolve, settings=settings)
    )

    async def main():
        async with app.test_app(), connect(app, "/ws", token="alice") as client:
            await client.expect("hello")
            await client.send("hello")
            print(await client.receive())

    trio.run(main)
""")


def test_an_app_on_an_unknown_hypercorn_serves_over_asgi_and_logs_why() -> None:
    ran = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=50, check=False)
    assert ran.returncode == 0, ran.stderr
    logged, answer = ran.stdout.splitlines()
    assert logged.startswith("WARNING WebSocket transport: plain ASGI, because")
    assert "not tested with hypercorn 99.0" in logged
    assert answer == "alice: hello"
