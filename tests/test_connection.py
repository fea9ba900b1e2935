from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.connection import (
    FIELDS,
    parse_base_url,
    parse_connection,
    unknown_fields,
)
from airflow_provider_xpander.connection_form import form_fields

KEY = "k-0123456789"


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)


def connection(extra: Any = None, **parts: Any) -> Settings:
    known: dict[str, Any] = {
        "conn_type": "xpander", "host": None, "port": None, "schema": None, "password": KEY,
        "extra": extra if extra is None or isinstance(extra, str) else json.dumps(extra), **parts,
    }  # fmt: skip
    return parse_connection("my_conn", **known)


def test_only_the_key_is_needed() -> None:
    assert connection() == Settings(api_key=KEY)


@pytest.mark.parametrize(
    ("host", "port", "schema", "url"),
    [
        (None, None, None, "https://api.xpander.ai"),
        ("", 0, "", "https://api.xpander.ai"),
        ("  ", None, None, "https://api.xpander.ai"),
        ("https://api.xpander.ai", None, None, "https://api.xpander.ai"),
        ("https://api.xpander.ai/", None, None, "https://api.xpander.ai"),
        ("https://api.xpander.ai/v1", None, None, "https://api.xpander.ai"),
        ("https://api.xpander.ai/v1/", None, None, "https://api.xpander.ai"),
        ("api.xpander.ai", None, None, "https://api.xpander.ai"),
        ("api.xpander.ai/v1", None, None, "https://api.xpander.ai"),
        (" api.xpander.ai ", None, None, "https://api.xpander.ai"),
        ("API.xpander.ai", None, None, "https://api.xpander.ai"),
        ("localhost", 8090, "http", "http://localhost:8090"),
        ("localhost:8090", None, "http", "http://localhost:8090"),
        ("localhost:8090", 9999, None, "https://localhost:8090"),
        ("http://localhost", 8090, None, "http://localhost:8090"),
        ("http://localhost:8090", 0, None, "http://localhost:8090"),
        ("http://localhost", None, "https", "http://localhost"),
        ("localhost", None, "main", "https://localhost"),
        ("http://[::1]:8090", None, None, "http://[::1]:8090"),
        ("https://api.xpander.ai:443", None, None, "https://api.xpander.ai"),
        ("api.xpander.ai", 443, None, "https://api.xpander.ai"),
        ("", 443, None, "https://api.xpander.ai"),
        ("http://localhost", 80, None, "http://localhost"),
        ("http://localhost", 443, None, "http://localhost:443"),
        ("https://localhost", 80, None, "https://localhost:80"),
        ("https://proxy.corp/xpander/v1/", None, None, "https://proxy.corp/xpander"),
        ("https://proxy.corp/v1/xpander", None, None, "https://proxy.corp/v1/xpander"),
        ("https://proxy.corp/xv1", None, None, "https://proxy.corp/xv1"),
    ],
)
def test_the_base_url(host: str | None, port: int | None, schema: str | None, url: str) -> None:
    assert connection(host=host, port=port, schema=schema).base_url == url


@pytest.mark.parametrize(
    "host",
    ["ftp://api.xpander.ai", "http://", "https://api.xpander.ai:port", "https://api.xpander.ai:99999",
     "https://api.xpander.ai:0", "https://[::1", "https://[::zz]", "https://api.xpander.ai/?x=1", "//",
     "https://api.xpander.ai/#x", "https://my host", "https://a..b", f"https://{'x' * 64}.ai",
     "https://api.xpander.ai\nX-Evil: 1"],
)  # fmt: skip
def test_a_wrong_host_is_named(host: str) -> None:
    with pytest.raises(ValueError, match="Connection 'my_conn': host must be") as caught:
        connection(host=host)
    assert repr(host) in str(caught.value)


@pytest.mark.parametrize("port", [-1, 65536, 99999])
def test_a_wrong_port_is_named(port: int) -> None:
    with pytest.raises(ValueError, match=f"Connection 'my_conn': port must be .* 1 to 65535, got {port}"):
        connection(host="https://api.xpander.ai", port=port)


def test_credentials_in_the_host_are_refused_and_not_shown() -> None:
    with pytest.raises(ValueError, match="belongs into the password") as caught:
        parse_base_url("Connection 'my_conn'", "https://user:s3cret@api.xpander.ai", None)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("password", [None, "", "  "])
def test_a_missing_key_is_named(password: str | None) -> None:
    with pytest.raises(ValueError, match="Connection 'my_conn' has no API key. Set its password"):
        connection(password=password)


@pytest.mark.parametrize("password", ["s3cret\nx", "s3crät", "s3cret\x00"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(password: str) -> None:
    with pytest.raises(ValueError, match="my_conn.*API key") as caught:
        connection(password=password)
    assert "s3c" not in str(caught.value)


def test_blanks_around_a_pasted_key_are_dropped() -> None:
    assert connection(password=f" {KEY}\n").api_key == KEY


def test_a_connection_of_another_type_is_named() -> None:
    with pytest.raises(ValueError, match="Connection 'my_conn' is of type 'http', not 'xpander'"):
        connection(conn_type="http")


@pytest.mark.parametrize("conn_type", [None, ""])
def test_a_connection_without_a_type_is_taken(conn_type: str | None) -> None:
    assert connection(conn_type=conn_type).api_key == KEY


@pytest.mark.parametrize(
    ("name", "given", "setting"),
    [
        ("auth_mode", "bearer", "bearer"),
        ("organization_id", " o-1 ", "o-1"),
        ("user_email", "a@b.c", "a@b.c"),
        ("user_id", "u-1", "u-1"),
        ("user_id", 7, "7"),
        ("console_url", "https://console.corp/", "https://console.corp"),
        ("task_link_template", "https://c/{agent_id}?t={task_id}&o={organization_id}",
         "https://c/{agent_id}?t={task_id}&o={organization_id}"),
        ("task_link_template", "https://c/tasks", "https://c/tasks"),
        ("verify", False, False),
        ("verify", True, True),
        ("verify", "false", False),
        ("verify", "True", True),
        ("verify", "no", False),
        ("verify", __file__, __file__),
        ("proxy", "http://user:pass@proxy:3128", "http://user:pass@proxy:3128"),
        ("timeout", 5, 5.0),
        ("timeout", "2.5", 2.5),
        ("requests_per_minute", 0, 0),
        ("requests_per_minute", "50", 50),
        ("requests_per_hour", 5000, 5000),
        ("requests_per_hour", 5000.0, 5000),
        ("requests_per_hour", "1000.0", 1000),
        ("requests_per_minute", " 1e2 ", 100),
        ("requests_per_minute", "0.0", 0),
        ("timeout", "60.0", 60.0),
        ("client_task_ids", "False", False),
        ("client_task_ids", " true ", True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("prefix", ["", "extra__xpander__"])
def test_a_field_of_the_extra_becomes_a_setting(name: str, given: Any, setting: Any, prefix: str) -> None:
    assert getattr(connection({prefix + name: given}), name) == setting


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("unset", [None, "", "  ", "\n"], ids=["null", "empty", "blanks", "newline"])
def test_a_field_that_is_left_empty_is_unset(name: str, unset: Any) -> None:
    assert connection({name: unset}) == connection()


@pytest.mark.parametrize(
    ("name", "given", "allowed"),
    [
        ("auth_mode", "basic", "one of api_key, bearer"),
        ("auth_mode", ["api_key", "bearer"], "one of api_key, bearer"),
        ("organization_id", {"a": 1}, "a text"),
        ("user_email", ["a@b.c"], "a text"),
        ("console_url", "console.corp", "a URL that starts with http"),
        ("console_url", "ftp://console.corp", "a URL that starts with http"),
        ("console_url", "http://[", "a URL that starts with http"),
        ("console_url", 7, "a URL that starts with http"),
        ("task_link_template", "https://c/{task}", "{task_id}"),
        ("task_link_template", "https://c/{}", "{task_id}"),
        ("task_link_template", "https://c/{task_id", "{task_id}"),
        ("task_link_template", "https://c/{task_id.missing}", "{task_id}"),
        ("task_link_template", "https://c/{task_id[0]}", "{task_id}"),
        ("verify", "/no/such/file.pem", "path"),
        ("verify", {}, "text"),
        ("proxy", "proxy:3128", "URL of a proxy"),
        ("proxy", "ftp://proxy", "URL of a proxy"),
        ("proxy", "http://[", "URL of a proxy"),
        ("proxy", "http://proxy:port", "port from 1 to 65535"),
        ("proxy", "http://proxy:99999", "port from 1 to 65535"),
        ("proxy", "http://proxy:0", "port from 1 to 65535"),
        ("proxy", "http://my proxy:3128", "URL of a proxy"),
        ("proxy", "http://proxy\n:3128", "URL of a proxy"),
        ("proxy", "socks://proxy:1080", "socks5 or socks5h"),
        ("proxy", "socks5://proxy:1080", "pip install 'requests[socks]' 'httpx[socks]'"),
        ("proxy", "socks5h://proxy:1080", "pip install 'requests[socks]' 'httpx[socks]'"),
        ("proxy", "http://%D0%BA:x@proxy", "credentials a header can carry"),
        ("organization_id", "o\u20131", "printable ASCII"),
        ("organization_id", "\u043e\u0440\u0433", "printable ASCII"),
        ("organization_id", "o-1\r\nx-evil: 1", "printable ASCII"),
        ("organization_id", "o\u00a01", "printable ASCII"),
        ("organization_id", "o\x001", "printable ASCII"),
        ("timeout", 0, "greater than 0"),
        ("timeout", -1, "greater than 0"),
        ("timeout", "soon", "greater than 0"),
        ("timeout", "nan", "greater than 0"),
        ("timeout", "inf", "greater than 0"),
        ("timeout", 1e9, "1000000 at the most"),
        ("timeout", 10**400, "greater than 0"),
        ("timeout", True, "greater than 0"),
        ("timeout", [1], "greater than 0"),
        ("requests_per_minute", -1, "whole number"),
        ("requests_per_minute", 2.5, "whole number"),
        ("requests_per_minute", "2.5", "whole number"),
        ("requests_per_minute", "nan", "whole number"),
        ("requests_per_minute", "1e999", "whole number"),
        ("requests_per_minute", "many", "whole number"),
        ("requests_per_hour", float("inf"), "whole number"),
        ("requests_per_hour", float("nan"), "whole number"),
        ("requests_per_hour", True, "whole number"),
        ("requests_per_hour", {}, "whole number"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_value_is_named_with_what_is_allowed(name: str, given: Any, allowed: str) -> None:
    with pytest.raises(ValueError, match=f"Connection 'my_conn': extra field '{name}' must be ") as caught:
        connection({name: given})
    assert allowed in str(caught.value)


@pytest.mark.parametrize(
    ("extra", "more"),
    [
        ({"proxy": "user:s3cret@proxy"}, {}),
        ({"console_url": "ftp://user:s3cret@console"}, {}),
        ({"task_link_template": "https://user:s3cret@console/{task}"}, {}),
        ({}, {"host": "https://user:s3cret@api.xpander.ai:port"}),
        ({}, {"host": "https://user:s3cret@api.xpander.ai/?x=1"}),
    ],
)
def test_a_wrong_url_is_not_shown_with_its_password(extra: Any, more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be") as caught:
        connection(extra, **more)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("installed", "missing"),
    [({"socks", "socksio"}, None), ({"socks"}, "'httpx\\[socks\\]'"), ({"socksio"}, "'requests\\[socks\\]'")],
    ids=["both", "one for triggers missing", "one for workers missing"],
)
def test_a_socks_proxy_needs_the_libraries_of_both_drivers(
    installed: set[str], missing: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in installed else None)
    if missing is None:
        assert connection({"proxy": "socks5://proxy:1080"}).proxy == "socks5://proxy:1080"
    else:
        with pytest.raises(ValueError, match=f"pip install {missing}"):
            connection({"proxy": "socks5://proxy:1080"})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALL_PROXY", "socks://127.0.0.1:1080"),
        ("all_proxy", "socks5://127.0.0.1:1080"),
        ("https_proxy", "http://proxy:port"),
        ("HTTPS_PROXY", "http://proxy:99999"),
        ("https_proxy", "proxy:99999"),
        ("HTTPS_PROXY", "http://user:s3cret@my proxy"),
    ],
)
def test_a_proxy_of_the_environment_that_cannot_be_used_is_refused_and_not_shown(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(
        ValueError, match=f"connection 'my_conn': the environment's {variable} must be"
    ) as caught:
        connection()
    assert "s3cret" not in str(caught.value)
    assert type(caught.value) is ValueError, "a retry may mend it, on a worker with another environment"
    assert connection({"proxy": "http://proxy:3128"}).proxy, "it is not asked"
    monkeypatch.setenv("no_proxy", "api.xpander.ai")
    assert connection() == Settings(api_key=KEY), "it is not used"


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_certificates_of_the_environment_that_do_not_exist_are_named(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "/nowhere/ca.pem")
    with pytest.raises(ValueError, match=f"the environment's {name} names '/nowhere/ca.pem'"):
        connection()
    assert connection({"verify": False}).verify is False
    assert connection(host="http://127.0.0.1:8090").base_url == "http://127.0.0.1:8090"


@pytest.mark.parametrize(
    ("extra", "words"),
    [("{", "not JSON"), ("timeout=5", "not JSON"), ("[]", "a list"), ('"x"', "a str"), ("7", "a int")],
)
def test_an_extra_that_is_no_object_is_named(extra: str, words: str) -> None:
    with pytest.raises(ValueError, match="Connection 'my_conn': extra must be a JSON object") as caught:
        connection(extra)
    assert words in str(caught.value)


@pytest.mark.parametrize("extra", [None, "", " ", "{}", '{"of_somebody_else": 1}'])
def test_an_extra_without_our_fields_changes_nothing(extra: str | None) -> None:
    assert connection(extra) == connection()


@pytest.mark.parametrize(
    ("extra", "named"),
    [
        ({"requests_per_min": 10}, "requests_per_min (is requests_per_minute meant?)"),
        ({"organisation_id": "o-1", "timeout": 5}, "organisation_id (is organization_id meant?)"),
        ({"extra__xpander__time_out": 5}, "time_out (is timeout meant?)"),
        ({"zzz": "s3cret"}, "zzz"),
        ({"zzz": 1, "aaa": None, "a\nb": 2}, "a b, aaa, zzz"),
    ],
)
def test_fields_that_mean_nothing_are_named(extra: Any, named: str) -> None:
    said = unknown_fields("my_conn", json.dumps(extra))
    assert said == f"Connection 'my_conn': unknown fields in extra are ignored: {named}."


@pytest.mark.parametrize(
    "extra",
    [None, "", " ", "{}", json.dumps(dict.fromkeys(FIELDS)), '{"__extra__": 1, "extra__xpander__proxy": ""}'],
)
def test_known_fields_are_not(extra: str | None) -> None:
    assert unknown_fields("my_conn", extra) is None


def test_every_field_of_the_form_is_a_setting() -> None:
    assert list(FIELDS) == [
        "auth_mode", "organization_id", "user_email", "user_id", "console_url", "task_link_template",
        "verify", "proxy", "timeout", "requests_per_minute", "requests_per_hour", "client_task_ids",
    ]  # fmt: skip
    assert set(FIELDS) <= set(Settings.__dataclass_fields__)


@pytest.mark.parametrize("name", FIELDS)
def test_the_form_states_the_real_defaults(name: str) -> None:
    schema = form_fields()[name]["schema"]
    stated = connection({name: schema["default"]}) if "default" in schema else connection()
    assert stated == connection()


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_of_the_form_may_be_left_empty(name: str) -> None:
    assert "null" in form_fields()[name]["schema"]["type"]


def test_a_folder_of_authorities_is_taken(tmp_path: Path) -> None:
    assert connection({"verify": str(tmp_path)}).verify == str(tmp_path)
