"""The plugin in test sessions of their own: what it loads, what it refuses, several processes."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from airflow_side import Service
from emulator_process import emulator
from header_proxy import ADDED, header_proxy

Session = Callable[..., pytest.RunResult]

KEY = "a-real-key-0815"
REAL = "http://api.example.invalid"

ASK = """
    import json, os, pytest
    from airflow_provider_xpander.api.models import Target
    from airflow_provider_xpander.hooks.xpander import XpanderHook

    os.environ["AIRFLOW_CONN_REAL"] = json.dumps(
        {"conn_type": "xpander", "host": "https://real.invalid", "password": "real-key-0815"}
    )

    def ask(text="hello", agent="triage", conn_id="xpander_default"):
        with XpanderHook(conn_id) as hook:
            return hook.wait_for_task(hook.invoke_async(Target.agent(agent), text).id, 5)
"""


@pytest.mark.usefixtures("no_other_plugins")
def test_a_session_that_does_not_use_it_loads_nothing_of_it(session: Session) -> None:
    done = session(
        test="""
        import sys

        def test_it():
            heavy = {"airflow", "pydantic", "requests", "httpx", "fastapi", "uvicorn", "sqlalchemy"}
            assert not heavy & set(sys.modules)
            loaded = {name for name in sys.modules if name.startswith("airflow_provider_xpander.")}
            assert loaded == {
                "airflow_provider_xpander.testing", "airflow_provider_xpander.testing.plugin"
            }
        """
    )
    done.assert_outcomes(passed=1)


def test_a_call_of_a_real_service_fails_the_test_though_it_catches_the_error(session: Session) -> None:
    done = session(
        test=ASK
        + """
    def test_sync(xpander):
        with pytest.raises(Exception, match="would call a real xpander.ai"):
            ask(conn_id="real")

    def test_async(xpander):
        import asyncio
        from airflow_provider_xpander.api import routes
        from airflow_provider_xpander.api.aclient import AsyncClient
        from airflow_provider_xpander.api.settings import Settings

        async def ask_in_a_trigger():
            async with AsyncClient(Settings(base_url="https://real.invalid", api_key="k")) as client:
                await client.call(routes.get_task("1"))

        with pytest.raises(Exception, match="Nothing was sent"):
            asyncio.run(ask_in_a_trigger())

    def test_it_fails_by_itself(xpander):
        try:
            ask(conn_id="real")
        except Exception:
            assert 1 == 2

    def test_the_next_one_is_not_to_blame(xpander):
        pass
    """
    )
    done.assert_outcomes(failed=3, passed=1)
    said = "*would have called a real xpander.ai: https://real.invalid*"
    done.stdout.fnmatch_lines([said, "*assert 1 == 2*", said])
    done.stdout.no_fnmatch_line("*real-key-0815*")


def test_the_option_guards_tests_that_do_not_use_the_fixture(session: Session) -> None:
    done = session(
        "--xpander-no-network",
        test=ASK
        + """
    def test_it():
        with pytest.raises(Exception):
            ask(conn_id="real")

    def test_the_next_one():
        pass
    """,
    )
    done.assert_outcomes(failed=1, passed=1)


def test_several_processes_do_not_meet(session: Session) -> None:
    pytest.importorskip("xdist")
    done = session(
        "-n",
        "2",
        test=ASK
        + """
    @pytest.mark.parametrize("number", range(6))
    def test_it(xpander, number):
        xpander.agent("triage").answers(str(number)).takes(0.05)
        assert ask(str(number)).result == str(number)
        assert xpander.prompts() == [str(number)]
    """,
    )
    done.assert_outcomes(passed=6)


RECORDED = (
    ASK
    + """
    SIGNED = "https://me:url-secret-1@files.example.com/a.csv?part=2&X-Amz-Signature=url-secret-2"

    def test_it(xpander):
        xpander.recording("cassettes/triage.json", ignore=(r"day \\d+",))
        assert ask("the load of day {day} failed", agent="echo").result.startswith("the load of day")
        asked = {
            "input": {"text": "{text}", "files": [SIGNED]},
            "user_tokens": {"crm": "hush-token-4711"},
            "payload_extension": {"crm_api_key": "hush-extension-1", "region": "eu"},
        }
        with XpanderHook() as hook:
            task = hook.wait_for_task(hook.invoke_async(Target.agent("echo"), asked).id, 10)
        assert xpander.prompts("echo")[1] == task.result == "{text}"

    def test_another_one_of_the_same_file(xpander):
        xpander.recording("cassettes/triage.json", ignore=(r"day \\d+",))
        first = "the load of day {day} failed"
        with XpanderHook() as hook:
            thread = hook.wait_for_task(hook.invoke_async(Target.agent("echo"), first).id, 10).id
            hook.invoke_async(Target.agent("echo"), {"input": "and the day before?", "id": thread})
            assert hook.wait_for_task(thread, 10).result == "and the day before?"
"""
)


def test_recorded_answers_are_replayed_and_unknown_prompts_are_told(
    session: Session, monkeypatch: pytest.MonkeyPatch, pytester: pytest.Pytester
) -> None:
    """The real service is another process, on a host that is not this machine, behind a gateway."""

    def run(*arguments: str, day: int, text: str) -> pytest.RunResult:
        return session(*arguments, test=RECORDED.replace("{day}", str(day)).replace("{text}", text))

    with emulator("--api-key", KEY, "--run-seconds", "0") as (_, url, _), header_proxy(url) as gateway:
        extra = {"proxy": gateway.url, "user_email": "ada@example.com"}
        connection = {"conn_type": "xpander", "host": REAL, "password": KEY, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_XPANDER_DEFAULT", json.dumps(connection))
        run("--xpander-record", day=1, text=f"second, not {KEY}").assert_outcomes(passed=2)
    sent = [json.loads(request.body) for request in gateway.posts]
    asked = ["the load of day 1 failed", f"second, not {KEY}", "and the day before?"]
    assert [body["input"]["text"] for body in sent] == asked, "the first question is paid for once"
    assert sent[1]["user_tokens"] == {"crm": "hush-token-4711"}
    assert {request.headers["x-api-key"] for request in gateway.posts} == {KEY}
    assert {request.url.partition("/v1/")[0] for request in gateway.posts} == {REAL}
    (written,) = (path.read_text() for path in pytester.path.glob("cassettes/*.json"))
    assert "the load of <ignored> failed" in written
    assert "https://files.example.com/a.csv?part=2" in written
    assert '"region": "eu"' in written
    secrets = (KEY, "hush", "url-secret", "ada@example.com", *ADDED, *ADDED.values())
    assert [secret for secret in secrets if secret in written] == []

    monkeypatch.delenv("AIRFLOW_CONN_XPANDER_DEFAULT")
    run(day=2, text="second, not ***").assert_outcomes(passed=2)
    unknown = run(day=2, text="third")
    unknown.assert_outcomes(failed=1, passed=1)
    unknown.stdout.fnmatch_lines(
        ["*Prompts that are not in *triage.json: 1.*", '*-*"text": "second, not *"', '*+*"text": "third"']
    )


def test_a_service_that_refuses_to_be_recorded_fails_the_test(
    session: Session, service: Service, pytester: pytest.Pytester
) -> None:
    service.connect(password="an-outdated-key-0002")
    done = session(
        "--xpander-record",
        test=ASK
        + """
    def test_it(xpander):
        xpander.recording("cassettes/triage.json")
        assert ask(agent="echo").status == "error"
    """,
    )
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*Prompts that could not be recorded: 1.*HTTP 401*"])
    assert not list(pytester.path.glob("cassettes/*"))
