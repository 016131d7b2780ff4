"""Another module, with a model of a name that the first has too."""

from __future__ import annotations

from pydantic import BaseModel


class Item(BaseModel):
    """There are two of this name."""

    there: str
