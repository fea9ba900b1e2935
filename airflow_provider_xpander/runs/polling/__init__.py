"""Plans of the poller of a triggerer: what to ask next (single runs, lists of an agent), and when."""

from __future__ import annotations
