"""The task log of a run: its status, its progress, its stream; bounded, and free of secrets."""

from __future__ import annotations
