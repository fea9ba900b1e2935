"""The command line: one file a command, and their definition, which imports nothing heavy."""

from __future__ import annotations
