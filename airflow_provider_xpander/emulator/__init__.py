"""
A local xpander.ai: try the provider without a key, and test DAGs against faults on demand.

Everything here can be imported without the extra ``emulator``; starting a server needs it.
"""

from __future__ import annotations

from airflow_provider_xpander.emulator.agents import Prompt
from airflow_provider_xpander.emulator.clock import ManualClock
from airflow_provider_xpander.emulator.fault import Fault
from airflow_provider_xpander.emulator.run_fault import RunFault
from airflow_provider_xpander.emulator.scripts import Script
from airflow_provider_xpander.emulator.server import EmulatorServer
from airflow_provider_xpander.emulator.settings import (
    BEARER_TOKEN,
    DEFAULT_API_KEY,
    ORGANIZATION_ID,
    RESTRICTED_API_KEY,
    Settings,
)
from airflow_provider_xpander.emulator.state import Emulator

__all__ = [
    "BEARER_TOKEN",
    "DEFAULT_API_KEY",
    "ORGANIZATION_ID",
    "RESTRICTED_API_KEY",
    "Emulator",
    "EmulatorServer",
    "Fault",
    "ManualClock",
    "Prompt",
    "RunFault",
    "Script",
    "Settings",
]
