"""What Airflow's metrics, traces and lineage are told of a run, by the operator that has seen it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_xpander._compat import Context
from airflow_provider_xpander.api.models import Task
from airflow_provider_xpander.operators.base import XpanderRequestOperator
from airflow_provider_xpander.operators.stopping import Held
from airflow_provider_xpander.telemetry import Invocation, record_end

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage


class XpanderObservedOperator(XpanderRequestOperator):
    """Base of the operators, with what is told of their runs."""

    _held: Held | None = None
    """What a kill needs: read once, because a kill may not ask Airflow for anything."""
    _seen: Task | None = None
    """The run as this process has seen it last."""

    def _observe(self, context: Context, task: Task) -> None:
        """Tell metrics and traces of a run that has ended."""
        self._seen = task
        target, settings = self.target(), self._held.settings if self._held else None
        invocation = Invocation(target.kind, target.id, self.llm_model_name)
        record_end(task, context["ti"], invocation, settings, self.log)

    def get_openlineage_facets_on_start(self) -> OperatorLineage[Any, Any]:
        """Tell OpenLineage what is invoked."""
        from airflow_provider_xpander.operators.lineage import lineage_of

        return lineage_of(self.target(), None)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Tell OpenLineage what was invoked, and what is known of the run."""
        from airflow_provider_xpander.operators.lineage import lineage_of

        target, seen, link = self.target(), self._seen, None
        if seen is not None and self._held is not None and self._held.settings is not None:
            link = self._held.settings.task_link(task_id=seen.id, agent_id=target.id)
        return lineage_of(target, seen, link)

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Tell OpenLineage the same of a task that failed."""
        return self.get_openlineage_facets_on_complete(task_instance)
