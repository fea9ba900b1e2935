"""The DAGs that ``dag.test()`` runs; every wait in them is short."""

from __future__ import annotations

import json
from typing import Any

from airflow import DAG
from airflow.decorators import task_group

from airflow_provider_xpander._compat import HAS_HUMAN_IN_THE_LOOP, BaseOperator, Context
from airflow_provider_xpander.operators.xpander import (
    XpanderInvokeAgentOperator,
    XpanderInvokeWorkflowOperator,
)
from airflow_provider_xpander.sensors.xpander import XpanderTaskSensor

SCHEMA = {
    "type": "object",
    "properties": {"category": {"type": "string", "enum": ["billing", "bug", "access"]}},
    "required": ["category"],
}
# What Airflow would turn into objects, or refuse, if it came back from an agent as it is.
HOSTILE = {"__classname__": "os.system", "deep": {"__type": "datetime", "__var": 5}, "big": 2**70}
# Keys of XCom that are not the agent's to set.
NAMED_AS_OURS = dict.fromkeys(["xpander_link", "xpander_task", "xpander_task_id", "xpander_turns"], "x")
POLL = 0.1


class ReturnOperator(BaseOperator):
    """Return a value, and fail if it is not the expected one."""

    template_fields = ("value",)

    def __init__(self, *, value: Any, expected: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.value = value
        self.expected = expected

    def execute(self, context: Context) -> Any:
        """Return what was given."""
        if self.expected is not None and self.value != self.expected:
            raise ValueError(f"got {self.value!r}")
        # The answers of mapped tasks come as a sequence that reads them one by one.
        return self.value if isinstance(self.value, dict) else list(self.value)


with DAG("xpander_all_ways", schedule=None) as all_ways:
    question = ReturnOperator(
        task_id="question",
        value={"text": "from upstream", "rows": ["x", "y", "z"]},
        multiple_outputs=True,
    )
    deferred = XpanderInvokeAgentOperator(
        task_id="deferred", agent_id="echo", input="run {{ run_id }}", deferrable=True, poll_interval=POLL
    )
    worker = XpanderInvokeAgentOperator(
        task_id="worker",
        agent_id="classifier",
        input="I was charged twice",
        output_schema=SCHEMA,
        poll_interval=POLL,
    )
    sync = XpanderInvokeWorkflowOperator(
        task_id="sync", workflow_id="triage", input="The export crashes", mode="sync"
    )
    upstream = XpanderInvokeAgentOperator(
        task_id="upstream",
        agent_id="echo",
        input={"text": question.output["text"]},
        payload_extension={"deep": [question.output["rows"]]},
        deferrable=True,
        poll_interval=POLL,
    )
    mapped = XpanderInvokeAgentOperator.partial(
        task_id="mapped", agent_id="echo", deferrable=True, poll_interval=POLL
    ).expand(input=["x", "y", "z"])
    joined = ReturnOperator(task_id="joined", value=mapped.output)
    started = XpanderInvokeAgentOperator(
        task_id="started", agent_id="echo", input="later", wait_for_completion=False
    )
    poked = XpanderTaskSensor(task_id="poked", xpander_task_id=started.output, poke_interval=POLL)
    waited = XpanderTaskSensor(
        task_id="waited", xpander_task_id=started.output, poke_interval=POLL, deferrable=True
    )
    hostile = XpanderInvokeAgentOperator(
        task_id="hostile",
        agent_id="echo",
        input=json.dumps(HOSTILE),
        output_format="json",
        poll_interval=POLL,
    )
    # The answer as the next task gets it: out of the database.
    read_back = ReturnOperator(
        task_id="read_back",
        value=hostile.output,
        expected={
            "~__classname__": "os.system",
            "deep": {"~__type": "datetime", "~__var": 5},
            "big": f"~{2**70}",
        },
    )

with DAG("xpander_outputs", schedule=None) as outputs:
    apart = XpanderInvokeAgentOperator(
        task_id="apart",
        agent_id="echo",
        input=json.dumps(NAMED_AS_OURS | {"own": 7}),
        output_format="json",
        multiple_outputs=True,
        poll_interval=POLL,
    )
    XpanderInvokeAgentOperator(
        task_id="elsewhere",
        agent_id="echo",
        input=json.dumps({"../apart/own": 8, "xpander_link?": "x"}),
        output_format="json",
        multiple_outputs=True,
        poll_interval=POLL,
    ).set_upstream(apart)

with DAG("xpander_both_modes", schedule=None) as both_modes:
    XpanderInvokeAgentOperator(
        task_id="worker", agent_id="echo", input="from the worker", poll_interval=POLL, deferrable=False
    )
    XpanderInvokeAgentOperator(
        task_id="deferred", agent_id="echo", input="from the trigger", poll_interval=POLL, deferrable=True
    )
    left = XpanderInvokeAgentOperator(
        task_id="left", agent_id="echo", input="from the sensor", wait_for_completion=False
    )
    XpanderTaskSensor(task_id="waited", xpander_task_id=left.output, poke_interval=POLL, deferrable=True)

with DAG("xpander_no_run", schedule=None) as no_run:
    XpanderInvokeAgentOperator(task_id="refused", agent_id="nobody", input="hi")
    XpanderInvokeAgentOperator.partial(task_id="refused_too", agent_id="nobody").expand(input=["hi"])

with DAG("xpander_repaired", schedule=None) as repaired:
    XpanderInvokeAgentOperator(
        task_id="repaired",
        agent_id="sloppy",
        input="I was charged twice.",
        output_schema=SCHEMA,
        on_invalid="repair",
        deferrable=True,
        poll_interval=POLL,
    )

with DAG("xpander_rescheduled", schedule=None) as rescheduled:
    begun = XpanderInvokeAgentOperator(
        task_id="begun", agent_id="slow", input="take 1.5", wait_for_completion=False
    )
    XpanderTaskSensor(task_id="rescheduled", xpander_task_id=begun.output, poke_interval=1, mode="reschedule")

asking = approved = None
if HAS_HUMAN_IN_THE_LOOP:
    with DAG("xpander_approved", schedule=None) as approved:
        XpanderInvokeAgentOperator(
            task_id="approved",
            agent_id="echo",
            input="to whom it may concern",
            deferrable=True,
            poll_interval=POLL,
            require_approval=True,
        )
    with DAG("xpander_asking", schedule=None) as asking:
        XpanderInvokeAgentOperator(
            task_id="asking", agent_id="paused", input="approve", on_paused="ask", poll_interval=POLL
        )

with DAG("xpander_native", schedule=None, render_template_as_native_obj=True) as native:
    XpanderInvokeAgentOperator(
        task_id="native",
        agent_id="echo",
        input="1.10",
        title="{{ 20261101 }}",
        instructions_override="None",
        payload_extension={"code": "0x1F", "deep": ["123345"], "number": "{{ 7 }}"},
        extra_body={"younger": "1e5"},
        user_tokens={"crm": {"token": "123345"}, "jira": "{{ 1234567890 }}"},
        poll_interval=POLL,
    )

# What is not to be rendered: it may come from anybody, and a secret of this Airflow would go to the service.
TEMPLATE = "{{ conn.get('xpander_default').password }}"


@task_group
def in_group(servers: Any) -> None:
    """Use what the group is mapped over, as it is and as a part of something."""
    XpanderInvokeAgentOperator(
        task_id="data", agent_id="echo", input="x", poll_interval=POLL, mcp_servers=servers
    )
    XpanderInvokeAgentOperator(
        task_id="part",
        agent_id="echo",
        input="x",
        poll_interval=POLL,
        mcp_servers=[{"name": "{{ 'ef' * 6 }}", "headers": servers}],
    )


@task_group
def importing(schema: Any) -> None:
    """Import what the group is mapped over."""
    XpanderInvokeAgentOperator(
        task_id="imported", agent_id="classifier", input="x", poll_interval=POLL, output_schema=schema
    )


def use_data() -> None:
    """Hand on data of other tasks, by mapped tasks and by mapped groups."""
    servers = ReturnOperator(
        task_id="servers",
        value=[[{"name": "crm", "url": "https://crm.example.com", "headers": {"k": TEMPLATE}}]],
    )
    servers.template_fields = ()
    XpanderInvokeAgentOperator.partial(
        task_id="from_xcom",
        agent_id="echo",
        input="x",
        poll_interval=POLL,
        user_tokens={"crm": "{{ 'ab' * 6 }}"},
    ).expand(mcp_servers=servers.output)
    requests = ReturnOperator(
        task_id="requests",
        value=[{"input": TEMPLATE, "title": TEMPLATE, "user_tokens": {"k": TEMPLATE}, "thread_id": ""}],
    )
    requests.template_fields = ()
    XpanderInvokeAgentOperator.partial(
        task_id="by_kwargs", agent_id="echo", poll_interval=POLL, additional_context="{{ 'gh' * 6 }}"
    ).expand_kwargs(requests.output)
    XpanderInvokeAgentOperator.partial(
        task_id="kwargs_written", agent_id="echo", poll_interval=POLL
    ).expand_kwargs([{"input": "{{ 'ij' * 6 }}"}])
    XpanderInvokeAgentOperator.partial(
        task_id="written", agent_id="echo", input="x", poll_interval=POLL
    ).expand(user_tokens=[{"crm": "{{ 'cd' * 6 }}"}])
    schemas = ReturnOperator(task_id="schemas", value=["xpander_in_one_process.Ticket"])
    XpanderInvokeAgentOperator.partial(
        task_id="imported", agent_id="classifier", input="x", poll_interval=POLL
    ).expand(output_schema=schemas.output)
    in_group.expand(servers=servers.output)
    importing.expand(schema=schemas.output)


with DAG("xpander_data", schedule=None) as data:
    use_data()

with DAG("xpander_data_native", schedule=None, render_template_as_native_obj=True) as data_native:
    use_data()

with DAG("xpander_failing", schedule=None) as failing:
    XpanderInvokeAgentOperator(
        task_id="failing", agent_id="failing", input="error", deferrable=True, poll_interval=POLL
    )

with DAG("xpander_skipping", schedule=None) as skipping:
    XpanderInvokeAgentOperator(
        task_id="skipped",
        agent_id="failing",
        input="stopped",
        deferrable=True,
        poll_interval=POLL,
        on_stopped="skip",
    )

with DAG("xpander_secrets", schedule=None) as secrets:
    XpanderInvokeAgentOperator(
        task_id="secret",
        agent_id="echo",
        input="for {{ ds }}",
        # Not as it is sent, so that a look into this file does not count as a leak.
        user_tokens={"crm": "{{ 'hush-' ~ 'tokens-' ~ 4711 }}"},
        user_oidc_token="{{ 'hush-' ~ 'oidc-' ~ 4712 }}",
        mcp_servers=[{"name": "crm", "api_key": "{{ 'hush-' ~ 'mcp-' ~ 4713 }}"}],
        deferrable=True,
        poll_interval=POLL,
    )
