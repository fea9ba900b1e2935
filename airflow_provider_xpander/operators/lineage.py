"""
OpenLineage facets: which agent or workflow a task invokes, and what came of it.

Nothing of OpenLineage is imported before its provider asks.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from airflow_provider_xpander.api.models import Target, Task, Tokens

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

JOB_FACET = "xpander_job"
RUN_FACET = "xpander_run"


def lineage_of(target: Target, task: Task | None, link: str | None = None) -> OperatorLineage[Any, Any]:
    """
    Return the facets of a task of Airflow.

    :param target: what it invokes.
    :param task: the run, once it is known.
    :param link: where a person finds the run.
    :raises ImportError: the OpenLineage provider is not installed; then nobody calls this.
    """
    from airflow.providers.openlineage.extractors import OperatorLineage

    job_facet, run_facet = _facet_classes()
    job = job_facet(type=target.kind, id=target.id, version=target.version)
    run_facets = {}
    if task is not None:
        tokens = task.tokens or Tokens()
        run_facets[RUN_FACET] = run_facet(
            taskId=task.id,
            status=task.status.value,
            url=link,
            model=task.llm_model_name,
            modelProvider=task.llm_model_provider,
            inputTokens=tokens.prompt_tokens,
            outputTokens=tokens.completion_tokens,
            totalTokens=tokens.total_tokens,
            durationSeconds=task.duration,
        )
    return OperatorLineage(job_facets={JOB_FACET: job}, run_facets=run_facets)


@cache
def _facet_classes() -> tuple[Any, Any]:
    """Make the classes on first use: their base is OpenLineage's."""
    import attrs
    from openlineage.client.facet_v2 import JobFacet, RunFacet

    @attrs.define
    class XpanderJobFacet(JobFacet):
        """
        What a task invokes.

        :param type: ``agent`` or ``workflow``.
        :param id: its id.
        :param version: the version that was asked for, None for the latest.
        """

        type: str
        id: str
        version: str | None

        _additional_skip_redact = ["type", "id", "version"]

    @attrs.define
    class XpanderRunFacet(RunFacet):
        """
        The remote run.

        :param taskId: its id, which is the thread's too.
        :param status: its status, as the API spells it.
        :param url: where a person finds it.
        :param model: the model that was used.
        :param modelProvider: its provider.
        :param inputTokens: tokens that went into the model.
        :param outputTokens: tokens that came out of it.
        :param totalTokens: both.
        :param durationSeconds: from the start to the end.
        """

        taskId: str
        status: str
        url: str | None
        model: str | None
        modelProvider: str | None
        inputTokens: int | None
        outputTokens: int | None
        totalTokens: int | None
        durationSeconds: float | None

        # Airflow's masking takes anything with "token" in its name for a secret.
        _additional_skip_redact = ["taskId", "status", "inputTokens", "outputTokens", "totalTokens"]

    return XpanderJobFacet, XpanderRunFacet
