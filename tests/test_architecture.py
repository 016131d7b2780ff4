"""What `import-linter` cannot say of the package: see `[tool.importlinter]` in pyproject.toml for the rest."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "quart_wshub"

MODULES = sorted(PACKAGE.rglob("*.py"))


def test_every_module_says_why_it_exists() -> None:
    assert [str(path) for path in MODULES if not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_at_most_eight_modules_lie_directly_in_the_package() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 8
