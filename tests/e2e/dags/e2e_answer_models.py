"""A model that is named by its import path: this file is imported by the task that needs it, not before."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class Ticket(BaseModel):
    """A classified ticket."""

    category: Literal["billing", "bug", "other"]
    summary: str
    checked: bool = True
