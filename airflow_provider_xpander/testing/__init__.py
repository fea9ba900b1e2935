"""
The test kit for DAGs: the pytest plugin ``xpander``, and what its fixture gives.

The names here are for annotations. They are imported when they are used, because pytest imports this package
at each start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_xpander.testing.kit import XpanderKit
    from airflow_provider_xpander.testing.runs import Run

__all__ = ["Run", "XpanderKit"]


def __getattr__(name: str) -> Any:
    if name == "XpanderKit":
        from airflow_provider_xpander.testing.kit import XpanderKit

        return XpanderKit
    if name == "Run":
        from airflow_provider_xpander.testing.runs import Run

        return Run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
