"""The npm package: small, complete, and nothing else in it."""

from __future__ import annotations

import gzip
import json
import shutil
import tomllib
from typing import TYPE_CHECKING

import pytest

from tests.harness.node import run_node, run_npm
from tests.harness.server import ROOT

if TYPE_CHECKING:
    from pathlib import Path

STATIC = ROOT / "quart_wshub" / "static"

MAX_BYTES = 8000

PUBLISHED = {"LICENSE", "README.md", "package.json", "wshub.d.ts", "wshub.js"}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the npm folder and of what it packs, so that the checkout stays clean."""
    shutil.copytree(ROOT / "js", tmp_path / "js", ignore=shutil.ignore_patterns("wshub.*", "LICENSE"))
    shutil.copytree(STATIC, tmp_path / "quart_wshub" / "static")
    shutil.copy(ROOT / "LICENSE", tmp_path)
    return tmp_path / "js"


def test_minified_and_compressed_it_stays_small(npm_modules: Path) -> None:
    terser = npm_modules / "terser" / "bin" / "terser"
    done = run_node(terser, "--module", "--compress", "--mangle", "--", STATIC / "wshub.js")
    assert done.returncode == 0, done.stderr

    assert 1000 < len(gzip.compress(done.stdout.encode(), compresslevel=9, mtime=0)) < MAX_BYTES


def test_npm_publishes_these_files(package: Path) -> None:
    done = run_npm("pack", "--dry-run", "--json", cwd=package)
    assert done.returncode == 0, done.stderr
    packed = json.loads(done.stdout)
    [described] = packed if isinstance(packed, list) else packed.values()

    assert {file["path"] for file in described["files"]} == PUBLISHED


def test_the_packed_module_imports_and_is_the_one_that_is_served(package: Path, tmp_path: Path) -> None:
    assert run_npm("pack", cwd=package).returncode == 0
    [archive] = package.glob("*.tgz")
    app = tmp_path / "app"
    app.mkdir()
    done = run_npm("install", "--offline", "--no-audit", "--no-fund", str(archive), cwd=app)
    assert done.returncode == 0, done.stderr
    installed = app / "node_modules" / "quart-wshub-client"

    script = 'import * as client from "quart-wshub-client"; console.log(Object.keys(client).sort().join())'
    done = run_node("--input-type=module", "--eval", script, cwd=app)
    assert done.stdout.strip() == "CLOSE_CODES,WSHubClient,WSHubError", done.stderr
    for name in ("wshub.js", "wshub.d.ts"):
        assert (installed / name).read_bytes() == (STATIC / name).read_bytes()


def test_it_has_the_version_of_the_python_package() -> None:
    described = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert json.loads((ROOT / "js" / "package.json").read_text())["version"] == described["version"]
