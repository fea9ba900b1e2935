"""Decisions about a remote run, without Airflow and without a socket."""

from __future__ import annotations
