"""The course of a bulk task in its worker: begin, ask, collect, write down, wait."""

from __future__ import annotations
