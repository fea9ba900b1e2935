"""
Connection of type ``xpander``: its fields in one table, and the settings that are made of it.

The form (``connection_form.py``) comes from the table too.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from airflow_provider_xpander.api.errors import XpanderValidationError
from airflow_provider_xpander.api.network import check_network, check_proxy, split_url
from airflow_provider_xpander.api.settings import (
    DEFAULT_BASE_URL,
    DEFAULT_CONSOLE_URL,
    Settings,
    is_header_safe,
)
from airflow_provider_xpander.api.text import printable

log = logging.getLogger(__name__)
_warned: set[str] = set()

CONN_TYPE = "xpander"
HOOK_NAME = "xpander.ai"
DEFAULT_CONN_ID = "xpander_default"
AUTH_MODES = ("api_key", "bearer")
LONGEST_TIMEOUT = 1e6
"""Seconds that a reply may take: sockets refuse much more, in the middle of a submit."""


@dataclass(frozen=True)
class Field:
    """
    One field of the connection's extra.

    :param label: the label in the form.
    :param description: the help text in the form.
    :param schema: JSON Schema of the value, as Airflow's form understands it, without null.
    :param parse: makes the setting out of a value that is set; raises ValueError with what is allowed.
    """

    label: str
    description: str
    schema: Mapping[str, Any]
    parse: Callable[[Any], Any]


def _text(value: Any) -> str:
    if not isinstance(value, str | int):
        raise ValueError("a text")
    return str(value).strip()


def _header_text(value: Any) -> str:
    text = _text(value)
    if not is_header_safe(text):
        raise ValueError("a text of printable ASCII, because it is sent as a header")
    return text


def _url(value: Any) -> str:
    text = _text(value)
    parts = split_url(text)
    if parts is None or parts.scheme not in ("http", "https"):
        raise ValueError("a URL that starts with http:// or https://")
    return text.rstrip("/")


def _proxy(value: Any) -> str:
    return check_proxy(_text(value))


def _link_template(value: Any) -> str:
    template = _url(value)
    try:
        template.format(agent_id="", task_id="", organization_id="")
    except (KeyError, IndexError, ValueError, AttributeError):
        raise ValueError("a URL with {agent_id}, {task_id} and {organization_id} at the most") from None
    return template


def _auth_mode(value: Any) -> str:
    if value not in AUTH_MODES:
        raise ValueError("one of " + ", ".join(AUTH_MODES))
    return str(value)


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip().casefold()
    if text not in ("true", "1", "yes", "on", "false", "0", "no", "off"):
        raise ValueError("true or false")
    return text in ("true", "1", "yes", "on")


def _verify(value: Any) -> bool | str:
    if isinstance(value, bool):
        return value
    text = _text(value)
    if text.casefold() in ("true", "1", "yes", "on"):
        return True
    if text.casefold() in ("false", "0", "no", "off"):
        return False
    if not os.path.exists(text):
        raise ValueError("true, false, or the path of a CA file or folder that exists")
    return text


def _seconds(value: Any) -> float:
    problem = f"a number of seconds greater than 0, and {LONGEST_TIMEOUT:.0f} at the most"
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(problem) from None
    if isinstance(value, bool) or not 0 < seconds <= LONGEST_TIMEOUT:
        raise ValueError(problem)
    return seconds


def _limit(value: Any) -> int:
    problem = "a whole number, 0 for no limit"
    try:
        number = float(value)
        limit = int(number)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(problem) from None
    if isinstance(value, bool) or limit < 0 or limit != number:
        raise ValueError(problem)
    return limit


FIELDS: Mapping[str, Field] = {
    "auth_mode": Field(
        "Authentication",
        "api_key sends the password as x-api-key; bearer sends it as an OAuth2 JWT.",
        {"type": "string", "enum": list(AUTH_MODES), "default": "api_key"},
        _auth_mode,
    ),
    "organization_id": Field(
        "Organization ID",
        "Sent with each request if set; the key names the organization anyway.",
        {"type": "string"},
        _header_text,
    ),
    "user_email": Field(
        "User e-mail", "Default user of the runs (input.user.email).", {"type": "string"}, _text
    ),
    "user_id": Field(
        "User ID", "Default user of the runs (input.user.id); needs the e-mail.", {"type": "string"}, _text
    ),
    "console_url": Field(
        "Console URL",
        f"Web console for links; {DEFAULT_CONSOLE_URL} by default.",
        {"type": "string"},
        _url,
    ),
    "task_link_template": Field(
        "Task link template",
        "Link to one task: a URL with {agent_id}, {task_id}, {organization_id}.",
        {"type": "string"},
        _link_template,
    ),
    "verify": Field(
        "Verify TLS",
        "true, false, or the path of a CA file or folder.",
        {"type": "string", "default": "true"},
        _verify,
    ),
    "proxy": Field(
        "Proxy", "URL of the proxy; by default what the environment says.", {"type": "string"}, _proxy
    ),
    "timeout": Field(
        "Timeout (s)",
        "Seconds to wait for an answer to one request.",
        {"type": "number", "default": 60, "minimum": 1},
        _seconds,
    ),
    "requests_per_minute": Field(
        "Requests per minute",
        "Limit of the service for the organization; 0 means none.",
        {"type": "integer", "default": 100, "minimum": 0},
        _limit,
    ),
    "requests_per_hour": Field(
        "Requests per hour",
        "Limit of the service for the organization; 0 means none.",
        {"type": "integer", "default": 1000, "minimum": 0},
        _limit,
    ),
    "client_task_ids": Field(
        "Choose task ids",
        "Send an id with each invoke, if the service accepts unknown ones: finds lost runs without a list.",
        {"type": "boolean", "default": False},
        _flag,
    ),
}


def settings_of(conn_id: str, connection: Any) -> Settings:
    """
    Make settings out of an Airflow connection, and warn once of fields that nobody knows.

    :param conn_id: its id, for messages.
    :param connection: the connection.
    :raises ValueError: as for :func:`parse_connection`.
    """
    from airflow import __version__

    parts = ("conn_type", "host", "port", "schema", "password", "extra")
    settings = parse_connection(conn_id, **{name: getattr(connection, name) for name in parts})
    unknown = unknown_fields(conn_id, connection.extra)
    if unknown is not None and unknown not in _warned:
        _warned.add(unknown)
        log.warning(unknown)
    return replace(settings, user_agent=f"{settings.user_agent} Airflow/{__version__}")


def parse_connection(
    conn_id: str,
    *,
    conn_type: str | None,
    host: str | None,
    port: int | None,
    schema: str | None,
    password: str | None,
    extra: str | None,
) -> Settings:
    """
    Make settings out of the parts of an Airflow connection.

    Empty strings and nulls of the extra mean "unset": Airflow's form stores every field that way. Fields
    that are none of ours are ignored; :func:`unknown_fields` names them.

    :param conn_id: its id, for messages.
    :param conn_type: its type; none is taken for ours.
    :param host: base URL or host name; the public service if it is empty.
    :param port: the port, if the host names none.
    :param schema: ``http`` or ``https``, if the host names neither.
    :param password: the API key.
    :param extra: a JSON object with the fields of :data:`FIELDS`.
    :raises ValueError: names the connection, the field, the value unless it is secret, and what is allowed.
        Proxy and certificates of the environment are checked too: nothing is submitted before they fail.
    """
    where = f"Connection {conn_id!r}"
    if conn_type and conn_type != CONN_TYPE:
        raise ValueError(
            f"{where} is of type {conn_type!r}, not {CONN_TYPE!r}. Set its type to {CONN_TYPE!r}."
        )
    if not password or not password.strip():
        raise ValueError(f"{where} has no API key. Set its password to a key from the xpander.ai console.")
    settings = replace(
        Settings(),
        base_url=parse_base_url(where, host, port, schema),
        api_key=_header_safe(where, password.strip()),
        conn_id=conn_id,
    )
    values = {}
    for name, value in _extra(where, extra).items():
        # The widgets of old versions prefix the names of the fields.
        field_name = name.removeprefix(f"extra__{CONN_TYPE}__")
        if field_name not in FIELDS or value is None or (isinstance(value, str) and not value.strip()):
            continue
        try:
            values[field_name] = FIELDS[field_name].parse(value)
        except ValueError as error:
            shown = "" if field_name == "proxy" or "@" in str(value) else f", got {value!r}"
            raise ValueError(f"{where}: extra field {field_name!r} must be {error}{shown}.") from None
    settings = replace(settings, **values)
    try:
        check_network(settings)
    except XpanderValidationError as error:
        # A plain ValueError, which a retry may mend: the environment of another worker may be right.
        raise ValueError(str(error)) from None
    return settings


def unknown_fields(conn_id: str, extra: str | None) -> str | None:
    """
    Name the fields of an extra that mean nothing here, which are likely typing errors, in a sentence.

    :param conn_id: id of the connection.
    :param extra: its extra.
    :return: None if there are none.
    """
    names = [name.removeprefix(f"extra__{CONN_TYPE}__") for name in _extra("", extra)]
    unknown = []
    for name in names:
        if name not in FIELDS and not name.startswith("__"):  # those are Airflow's own
            like = get_close_matches(name, FIELDS, 1, cutoff=0.7)
            unknown.append(printable(name, 50) + (f" (is {like[0]} meant?)" if like else ""))
    if not unknown:
        return None
    return f"Connection {conn_id!r}: unknown fields in extra are ignored: {', '.join(sorted(unknown))}."


def parse_base_url(where: str, host: str | None, port: int | None, schema: str | None = None) -> str:
    """
    Make the base URL: the scheme is optional, a trailing slash or a pasted ``/v1`` is dropped (contract 1.1).

    :param where: what the message of an error begins with.
    :param host: with or without scheme, port and path; empty means the public service.
    :param port: used if the host names none; 0 means none (Airflow's form sends it).
    :param schema: ``http`` or ``https``, used if the host names no scheme.
    """
    text = (host or "").strip()
    if not text:
        return DEFAULT_BASE_URL
    if "://" not in text:
        text = f"{schema if schema in ('http', 'https') else 'https'}://{text}"
    parts = split_url(text)
    shown = "" if "@" in text else f", got {host!r}"
    if parts is None or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        raise ValueError(f"{where}: host must be an http or https URL or a host name{shown}.")
    if port and not 0 < port < 65536:
        raise ValueError(f"{where}: port must be a number from 1 to 65535, got {port!r}.")
    if parts.username or parts.password:
        raise ValueError(f"{where}: host must not hold credentials; the API key belongs into the password.")
    hostname = parts.hostname or ""
    name = f"[{hostname}]" if ":" in hostname else hostname
    chosen_port = parts.port or port
    if chosen_port == {"https": 443, "http": 80}[parts.scheme]:
        chosen_port = None  # said or not, it is the same address
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return f"{parts.scheme}://{name}{f':{chosen_port}' if chosen_port else ''}{path}"


def _header_safe(where: str, key: str) -> str:
    if not is_header_safe(key):
        raise ValueError(f"{where}: the API key (password) holds characters that no key has; paste it again.")
    return key


def _extra(where: str, extra: str | None) -> Mapping[str, Any]:
    if not extra or not extra.strip():
        return {}
    try:
        content = json.loads(extra)
    except ValueError:
        raise ValueError(f"{where}: extra must be a JSON object, it is not JSON.") from None
    if not isinstance(content, dict):
        raise ValueError(f"{where}: extra must be a JSON object, it is a {type(content).__name__}.")
    return content
