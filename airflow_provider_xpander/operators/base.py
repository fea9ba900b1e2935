"""The parameters that all invoke operators share, and the request that is made of them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel

from airflow_provider_xpander._compat import BaseOperator, Context, default_deferrable
from airflow_provider_xpander.api import request as api_request
from airflow_provider_xpander.api.errors import XpanderValidationError
from airflow_provider_xpander.api.request import (
    PARAMETERS,
    InvokeInput,
    InvokeRequest,
    Target,
    parse_request,
)
from airflow_provider_xpander.connection import DEFAULT_CONN_ID
from airflow_provider_xpander.operators.approval_arguments import check_approval
from airflow_provider_xpander.operators.arguments import (
    MAX_REPAIRS,
    MODES,
    ON_INVALID,
    ON_KILL,
    ON_STOPPED,
    ON_TIMEOUT,
    AnswerArguments,
    Options,
    answer_rules,
    as_field,
    check_choice,
    check_count,
    check_fields,
    check_on_paused,
    check_reattach,
    check_result_path,
    check_seconds,
    check_target,
    input_parts,
    is_literal,
    naming,
)
from airflow_provider_xpander.operators.links import XpanderRunLink
from airflow_provider_xpander.operators.secret_arguments import (
    check_secret,
    rendered_secret,
    warn_of_literal_secrets,
)
from airflow_provider_xpander.operators.templating import (
    DataIsNoTemplate,
    check_schema_path,
    is_native,
    keep_texts,
    render_texts,
)

if TYPE_CHECKING:
    from airflow_provider_xpander.runs.adopt import Reattach
    from airflow_provider_xpander.runs.answer import OnInvalid
    from airflow_provider_xpander.runs.approval import OnApprovalTimeout
    from airflow_provider_xpander.runs.stop_policy import OnKill, OnTimeout
    from airflow_provider_xpander.runs.watch import OnPaused


class XpanderRequestOperator(DataIsNoTemplate, BaseOperator):
    """
    Parameters of the operators that run an agent or a workflow, and the request made of them.

    The answer is the return value in XCom: a string, or parsed data where JSON was asked for. The id of the
    remote task is in XCom ``xpander_task_id`` right after the submit, a summary is in ``xpander_task`` at the
    end.

    :param agent_id: id of the agent; taken by :class:`XpanderInvokeAgentOperator`.
    :param workflow_id: id of the workflow; taken by :class:`XpanderInvokeWorkflowOperator`.
    :param input: the text, or a mapping with ``text``, ``files`` and ``user``.
    :param files: http or https URLs of files for the run, which the service fetches.
    :param user: on whose behalf the run is made: a mapping with ``email`` and more (contract section 3,
        ``input.user``); by default that of the connection.
    :param version: version of the agent or workflow; the latest deployed one by default.
    :param thread_id: id of a task whose thread is continued (the API's ``id``).
    :param output_format: ``text``, ``markdown``, ``json`` or ``voice``; by default the agent's own setting.
    :param output_schema: what the answer has to look like: a JSON Schema, a pydantic model class, or the
        import path of one, ``"package.module.Model"``, which is imported when the task runs. Implies
        ``output_format="json"``; the answer is checked, and is plain JSON data.
    :param expected_output: a description of the wanted answer.
    :param instructions_override: instructions added for this run.
    :param additional_context: facts added for this run.
    :param think_mode: ``default`` or ``harder``.
    :param llm_model_provider: provider of the model for this run.
    :param llm_model_name: model for this run.
    :param llm_reasoning_effort: ``low``, ``medium``, ``high`` or ``xhigh``.
    :param mcp_servers: MCP servers for this run; may hold secrets, so never shown as rendered.
    :param user_tokens: MCP tokens by graph item; secret, never shown as rendered.
    :param user_oidc_token: OIDC token; secret, never shown as rendered.
    :param title: title in the console; by default the DAG, task and run.
    :param payload_extension: fields that the service merges into tool calls (C12).
    :param disable_attachment_injection: keep contents of files out of the prompt.
    :param return_metrics: ask for a metrics report.
    :param extra_body: fields of the request that are younger than this provider.
    :param xpander_conn_id: id of a connection of type ``xpander``.
    :param mode: ``async`` starts the run, then waits; ``sync`` holds one request open, for runs under a
        minute; ``stream`` tells the run's events in the task log as they come.
    :param wait_for_completion: False returns the id of the remote task as soon as it is started.
    :param deferrable: wait in the triggerer instead of the worker; with ``mode="stream"`` only once the
        stream tells no more.
    :param poll_interval: seconds between two looks at the run.
    :param timeout: seconds (or timedelta) from the submit within which the run has to end; None for no limit
        but ``execution_timeout``.
    :param on_timeout: ``stop`` the run when it is late, or ``leave`` it.
    :param on_kill_action: ``stop`` the run when the task is killed, cleared, marked, or fails for good while
        the run goes on, or ``leave`` it.
    :param on_paused: ``wait`` while the run waits for a person, ``fail``, or ``ask`` in Airflow (3.1 and
        newer) whether to keep waiting or to stop the run.
    :param on_stopped: ``fail`` or ``skip`` the Airflow task when the run was stopped.
    :param on_invalid: what becomes of an answer that is not JSON although that was asked for, or does not
        match ``output_schema``: ``fail``; ``raw`` returns it as it came; ``repair`` tells the agent what is
        wrong and asks again, in the same thread.
    :param repair_attempts: how many repair turns a run gets at the most, 1 to 10; each is paid for.
    :param result_path: ObjectStoragePath URL of a file that the answer is written to, such as
        ``s3://aws_conn@bucket/{{ ds }}.json``; XCom then has its ``url``, ``size``, ``content_type`` and
        ``xpander_task_id``. One that ends with ``/`` is a folder, and the file is named after the run.
    :param max_xcom_bytes: bytes of JSON above which an answer does not go into XCom: it is written to
        ``result_path``, which is then used for such answers only, or else the task fails.
    :param reattach: whether a retry takes over the run of an earlier attempt: ``True`` (one that is alive or
        completed), ``"same_request"`` (only if the request is the same), ``False`` (starts a new run). A
        cleared task always starts a new run.
    :param require_approval: have a person approve the answer in Airflow (3.1 and newer) before it is handed
        on; the person may also edit it, ask again with a comment, or reject it.
    :param approvers: ids of the users who may decide; everybody who may edit the DAG run by default.
    :param approval_timeout: seconds (or timedelta) within which somebody has to decide; None for no limit but
        ``execution_timeout``.
    :param on_approval_timeout: ``fail`` or ``skip`` the task when nobody has, or ``approve`` the answer.
    :param kwargs: those of Airflow's ``BaseOperator``.
    :raises XpanderValidationError: an argument is wrong, when the DAG is parsed.
    """

    template_fields: Sequence[str] = (
        *(name for name, given in PARAMETERS.items() if not given.secret and not given.is_flag),
        "version", "xpander_conn_id", "result_path",
    )  # fmt: skip
    template_fields_renderers: ClassVar[dict[str, str]] = {
        name: "json"
        for name, given in PARAMETERS.items()
        if not (given.secret or given.is_flag or given.is_text or name == "input")
    }
    # Rendered only when the request is made, so that Airflow's table of rendered fields never has them.
    secret_template_fields: ClassVar[tuple[str, ...]] = tuple(
        name for name, given in PARAMETERS.items() if given.secret
    )
    thread_id: str | None
    output_format: str | None
    llm_model_name: str | None
    target_field: ClassVar[Literal["agent_id", "workflow_id"]]
    """The one of the two ids that the class takes."""
    killed = False
    """Whether a kill has come before there was an attempt: Airflow 3 lets the task go on for some seconds."""
    operator_extra_links: tuple[XpanderRunLink, ...] = (XpanderRunLink(),)
    ui_color = "#e6e0ff"

    def __init__(
        self,
        *,
        agent_id: str | None = None,
        workflow_id: str | None = None,
        input: str | Mapping[str, Any] | None = None,
        files: Sequence[str] | str | None = None,
        user: Mapping[str, Any] | None = None,
        version: str | None = None,
        thread_id: str | None = None,
        output_format: str | None = None,
        output_schema: Mapping[str, Any] | type[BaseModel] | str | None = None,
        expected_output: str | None = None,
        instructions_override: str | None = None,
        additional_context: str | None = None,
        think_mode: str | None = None,
        llm_model_provider: str | None = None,
        llm_model_name: str | None = None,
        llm_reasoning_effort: str | None = None,
        mcp_servers: Sequence[Mapping[str, Any]] | None = None,
        user_tokens: Mapping[str, Any] | None = None,
        user_oidc_token: str | None = None,
        title: str | None = None,
        payload_extension: Mapping[str, Any] | None = None,
        disable_attachment_injection: bool | None = None,
        return_metrics: bool | None = None,
        extra_body: Mapping[str, Any] | None = None,
        xpander_conn_id: str = DEFAULT_CONN_ID,
        mode: Literal["async", "sync", "stream"] = "async",
        wait_for_completion: bool = True,
        deferrable: bool | None = None,
        poll_interval: float = 30.0,
        timeout: float | timedelta | None = None,
        on_timeout: OnTimeout = "stop",
        on_kill_action: OnKill = "stop",
        on_paused: OnPaused = "wait",
        on_stopped: Literal["fail", "skip"] = "fail",
        on_invalid: OnInvalid = "fail",
        repair_attempts: int = 1,
        result_path: str | None = None,
        max_xcom_bytes: int | None = None,
        reattach: Reattach = True,
        require_approval: bool = False,
        approvers: Sequence[str] | None = None,
        approval_timeout: float | timedelta | None = None,
        on_approval_timeout: OnApprovalTimeout = "fail",
        **kwargs: Any,
    ) -> None:
        given = {name: value for name, value in locals().items() if name in PARAMETERS}
        super().__init__(**kwargs)
        for name, value in given.items():
            setattr(self, name, value)
        with naming(self):
            self.answers = AnswerArguments(output_schema)
        self.output_schema = as_field(output_schema)
        self.agent_id = agent_id
        self.workflow_id = workflow_id
        self.version = version
        self.xpander_conn_id = xpander_conn_id
        with naming(self):
            self.mode = check_choice("mode", mode, MODES)
            self.wait_for_completion = wait_for_completion
            self.deferrable = default_deferrable() if deferrable is None else deferrable
            self.poll_interval = check_seconds("poll_interval", poll_interval)
            self.timeout = None if timeout is None else check_seconds("timeout", timeout)
            self.on_timeout: OnTimeout = check_choice("on_timeout", on_timeout, ON_TIMEOUT)
            self.on_kill_action: OnKill = check_choice("on_kill_action", on_kill_action, ON_KILL)
            self.on_paused: OnPaused = check_on_paused(on_paused)
            self.on_stopped = check_choice("on_stopped", on_stopped, ON_STOPPED)
            self.on_invalid: OnInvalid = check_choice("on_invalid", on_invalid, ON_INVALID)
            self.repair_attempts = check_count("repair_attempts", repair_attempts, MAX_REPAIRS)
            self.result_path = result_path
            self.max_xcom_bytes = (
                None if max_xcom_bytes is None else check_count("max_xcom_bytes", max_xcom_bytes)
            )
            self.reattach = check_reattach(reattach)
            self.require_approval = require_approval
            self.approvers, self.approval_timeout = approvers, approval_timeout
            self.on_approval_timeout = on_approval_timeout
            self.approval_rules = check_approval(self, approvers, approval_timeout, on_approval_timeout)
            if mode != "async" and not wait_for_completion:
                raise XpanderValidationError(
                    f'wait_for_completion=False needs mode="async": mode="{mode}" is over when the run is'
                )
            asks_for_text = output_schema is None and is_literal(output_format) and output_format != "json"
            if on_invalid == "repair" and asks_for_text:
                raise XpanderValidationError(
                    "on_invalid='repair' needs output_schema or output_format='json', got neither: without "
                    "them any text is a valid answer, and on_invalid must be one of 'fail', 'raw'"
                )
            check_target(self.target_field, agent_id, workflow_id)
            for name in self.secret_template_fields:
                check_secret(name, getattr(self, name))
            check_result_path(result_path)
            check_fields(self._request_fields() | {"output_schema": {} if self.answers.asked else None})

        self._note_written()

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """
        Return the operator for ``expand``, with a warning for a secret that Airflow would store with the DAG.

        :param kwargs: arguments that are the same for all instances.
        """
        warn_of_literal_secrets(cls.__name__, {name: kwargs.get(name) for name in cls.secret_template_fields})
        return super().partial(**kwargs)

    def target(self) -> Target:
        """Return what is invoked, with its rendered id."""
        target_id = check_target(self.target_field, self.agent_id, self.workflow_id)
        make = Target.agent if self.target_field == "agent_id" else Target.workflow
        return make(target_id, self.version)

    def _request_fields(self) -> dict[str, Any]:
        given = {name: getattr(self, name) for name in PARAMETERS}
        parts = {name: given.pop(name) for name in InvokeInput.model_fields if name in given}
        fields = {PARAMETERS[name].field: value for name, value in given.items()}
        return fields | {"input": parts | dict(input_parts(given["input"]))}

    def _note_written(self) -> None:
        """Note the arguments as they are written in the DAG, before Airflow renders them in their place."""
        # Those of a class that is made of this one come later.
        self._written = {name: getattr(self, name) for name in self.template_fields if hasattr(self, name)}

    def _keep_texts(self, context: Context) -> None:
        """Undo what ``render_template_as_native_obj`` does to texts."""
        if not getattr(context.get("dag"), "render_template_as_native_obj", False):
            return
        as_text = partial(render_texts, context=context)
        for name, written in self._written.items():
            rendered = getattr(self, name)
            only_text = name not in PARAMETERS or PARAMETERS[name].is_text
            setattr(self, name, keep_texts(written, rendered, as_text if only_text else None))

    def request(self, context: Context) -> InvokeRequest:
        """
        Return what the run is asked, with the secret arguments rendered.

        :param context: that of the task instance.
        :raises XpanderValidationError: names each wrong field, its value and what is allowed.
        """
        fields = self._request_fields()
        for name in self.secret_template_fields:
            if fields[name] is not None:
                fields[name] = rendered_secret(self, context, name, fields[name])
        api_request.given("input", fields["input"].get("text"))
        if isinstance(self.output_schema, str):
            check_schema_path(context, self.task_id, self.output_schema)
        schema = self.answers.schema(self.output_schema)
        try:
            return parse_request(fields | {"output_schema": schema.body if schema else None})
        except XpanderValidationError as error:
            if not is_native(context):
                raise
            raise XpanderValidationError(
                f"{error} (The DAG has render_template_as_native_obj=True, by which Airflow makes "
                f"objects of texts.)"
            ) from None

    def _options(self) -> Options:
        """Return what is wanted of the wait and its end."""
        from airflow_provider_xpander.telemetry import Invocation

        target = self.target()
        return Options(
            xpander_conn_id=self.xpander_conn_id,
            invocation=lambda _: Invocation(target.kind, target.id, self.llm_model_name),
            rules=lambda _: answer_rules(self, on_invalid=self.on_invalid),
            poll_interval=self.poll_interval,
            deferrable=self.deferrable,
            on_paused=self.on_paused,
            on_stopped=self.on_stopped,
            on_kill_action=self.on_kill_action,
            timeout=self.timeout,
            may_ask=self.on_paused == "ask" or self.require_approval,
        )


RUN_PARAMETERS = frozenset(
    name
    for name, parameter in inspect.signature(XpanderRequestOperator.__init__).parameters.items()
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY
)
"""Names that an operator made of this one repeats, for type checkers and editors, and hands on."""
