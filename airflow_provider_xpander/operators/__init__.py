"""Operators of the xpander.ai provider."""

from __future__ import annotations
