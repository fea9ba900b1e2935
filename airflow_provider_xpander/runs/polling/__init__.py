"""What the poller of a triggerer asks next: single runs, lists of an agent, and when."""

from __future__ import annotations
