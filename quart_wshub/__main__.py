"""`python -m quart_wshub` runs the `quart-wshub` command."""

from __future__ import annotations

import sys

from quart_wshub.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
