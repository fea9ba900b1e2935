"""Settings of the emulator: what it accepts, how fast it is, and which of the service's quirks it shows."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

DEFAULT_API_KEY = "xpander-emulator-key-0000"
# A valid key that may use nothing: keys can be limited to named agents (contract 1.2).
RESTRICTED_API_KEY = "xpander-emulator-restricted-0000"
BEARER_TOKEN = "emulator.jwt.token"
ORGANIZATION_ID = "00000000-0000-4000-8000-000000000001"

Envelope = Literal["current", "event", "camel", "bare", "legacy"]


class Settings(BaseModel):
    """
    Switches of the emulator; change them at any time, they take effect with the next request.

    :param api_keys: accepted values of ``x-api-key``, besides :data:`RESTRICTED_API_KEY`.
    :param run_seconds: seconds from submit to end of a run whose agent does not say otherwise.
    :param pending_share: share of ``run_seconds`` (0 to 1) that a run is ``pending``.
    :param speed: runs, lags and the gateway's patience take their seconds divided by this.
    :param requests_per_minute: more requests in any minute, whoever sends them, answer 429 (contract section
        7); 0 is no limit. Refused ones, those that a fault hits on their way and the emulator's own routes do
        not count. Minutes are those of the emulator's clock, whatever the ``speed``.
    :param requests_per_hour: the same for any hour.
    :param keep_runs: the runs that ended first are forgotten with their tasks when there are more; those that
        go on never are.
    :param keep_calls: the oldest calls are forgotten when there are more.
    :param keep_megabytes: the same holds for what they are asked and answer, and for the bodies of calls.
    :param strict: answer 422 to fields and query parameters that the service does not have, and to values
        of another type that it may take all the same, such as ``"true"``. The service is thought to ignore
        unknown fields (contract section 10); here a typo is to be noticed.
    :param require_user: answer 422 when ``input.user`` is missing (C14).
    :param unknown_ids: a first message with an id that the client chose: take it or answer 404 (C5).
    :param busy_thread: a message to a running id (C4): both turns run, or the running one is cancelled, or
        it is told the message too and there is no new turn.
    :param stale_turn_seconds: seconds for which a follow-up still shows the turn before it (contract 2.3).
    :param not_found_lag_seconds: seconds for which a new task is unknown to Get Task and the thread.
    :param list_lag_seconds: seconds for which a new task is missing in lists.
    :param list_order: what lists show first: the latest update, the latest creation, or one of
        no meaning.
    :param list_stale_seconds: seconds by which lists lag behind: they show what was true then.
    :param list_status_filter: lists of one status show that one, or all the same, or answer 422.
    :param list_hidden_share: share of the tasks (0 to 1, by their ids) that lists never show.
    :param list_frozen_share: share of the tasks that lists show as they were at their submit, for ever.
    :param list_status_names: lists name a status as the task does, or by its old name, such as ``running``
        and ``cancelled`` (C6).
    :param delete_status: what DELETE answers; with 200 also a message (C7).
    :param full_thread: the full thread is an object, or a bare array as in an old example (C8).
    :param hitl_request: a pause for a person shows the id of the node that waits, or what older pages show:
        operation, title and text to approve (C17).
    :param stop_delay_seconds: seconds from a stop to ``stopped``; a run may complete in between
        (contract 2.6).
    :param gateway_timeout_seconds: sync invoke answers 504 with an HTML page after so many seconds, while
        the run goes on; None is no limit (contract section 8).
    :param slim_bodies: serve tasks with the few fields of C15.
    :param null_fields: answer null in every field that may be null and is not needed to follow a run.
    :param null_started_at: leave ``started_at`` null, as real samples often do (contract section 4).
    :param json_results: JSON answers as a string, as a string in a Markdown fence, or as an object
        (contract 4.1).
    :param pack_rows_missing: so many rows are left out of each answer to a pack.
    :param pack_rows_doubled: so many rows of such an answer come twice.
    :param pack_rows_foreign: so many rows with keys that nobody asked for are added.
    :param pack_rows_invalid: so many rows have an answer that the schema does not have.
    :param pack_rows_shuffled: the rows come in another order.
    :param poisonous_text: a run whose rows have this text somewhere fails, alone or in a pack; empty: none.
    :param stream_envelope: shape of the stream's events (C20).
    :param stream_drop_after: break the connection after so many events; None never does.
    :param stream_silent_after: send nothing more after so many events, but comments with
        ``stream_comments``; the connection stays open. None never does.
    :param stream_finish: what ``task_finished`` carries: the task, a task without its result, a string;
        or no such event at all, the stream just ends.
    :param stream_thoughts: thoughts are a text, or an object as in the SDK (C21).
    :param stream_connected: begin with a ``connected`` event.
    :param stream_comments: put a comment before each event and one a second while nothing happens.
    :param stream_crlf: end lines with CRLF.
    :param stream_ids: send ``id:`` lines; a ``Last-Event-ID`` goes on with the stream of a thread, without a
        new turn, as for conversations (contract 2.11).
    :param stream_sub_agent: mix in the events of a sub-agent, with ids of its own.
    :param stream_split: send each event in two pieces.
    :param stream_done: end with a ``[DONE]`` sentinel.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    api_keys: list[str] = Field(default_factory=lambda: [DEFAULT_API_KEY], min_length=1)
    run_seconds: float = Field(default=1.0, ge=0)
    pending_share: float = Field(default=0.2, ge=0, le=1)
    speed: float = Field(default=1.0, gt=0)
    requests_per_minute: int = Field(default=0, ge=0)
    requests_per_hour: int = Field(default=0, ge=0)
    keep_runs: int = Field(default=10_000, ge=1)
    keep_calls: int = Field(default=10_000, ge=1)
    keep_megabytes: float = Field(default=64.0, gt=0)
    strict: bool = True
    require_user: bool = False
    unknown_ids: Literal["accept", "not_found"] = "accept"
    busy_thread: Literal["accept", "cancel", "steer"] = "accept"
    stale_turn_seconds: float = Field(default=0, ge=0)
    not_found_lag_seconds: float = Field(default=0, ge=0)
    list_lag_seconds: float = Field(default=0, ge=0)
    list_order: Literal["updated", "created", "none"] = "updated"
    list_stale_seconds: float = Field(default=0, ge=0)
    list_status_filter: Literal["kept", "ignored", "refused"] = "kept"
    list_hidden_share: float = Field(default=0, ge=0, le=1)
    list_frozen_share: float = Field(default=0, ge=0, le=1)
    list_status_names: Literal["official", "old"] = "official"
    delete_status: Literal[204, 202, 200] = 204
    full_thread: Literal["object", "array"] = "object"
    hitl_request: Literal["node", "approval"] = "node"
    stop_delay_seconds: float = Field(default=0, ge=0)
    gateway_timeout_seconds: float | None = Field(default=None, ge=0)
    slim_bodies: bool = False
    null_fields: bool = False
    null_started_at: bool = False
    json_results: Literal["string", "fenced", "object"] = "string"
    pack_rows_missing: int = Field(default=0, ge=0)
    pack_rows_doubled: int = Field(default=0, ge=0)
    pack_rows_foreign: int = Field(default=0, ge=0)
    pack_rows_invalid: int = Field(default=0, ge=0)
    pack_rows_shuffled: bool = False
    poisonous_text: str = ""
    stream_envelope: Envelope = "current"
    stream_drop_after: int | None = Field(default=None, ge=0)
    stream_silent_after: int | None = Field(default=None, ge=0)
    stream_finish: Literal["task", "trimmed", "string", "absent"] = "task"
    stream_thoughts: Literal["text", "object"] = "text"
    stream_connected: bool = False
    stream_comments: bool = False
    stream_crlf: bool = False
    stream_ids: bool = False
    stream_sub_agent: bool = False
    stream_split: bool = False
    stream_done: bool = False

    def scaled(self, seconds: float) -> float:
        """
        Return how long something really takes at this speed.

        :param seconds: how long it takes in the story.
        """
        return seconds / self.speed

    @property
    def keep_bytes(self) -> int:
        """``keep_megabytes`` in bytes."""
        return int(self.keep_megabytes * 1_000_000)
