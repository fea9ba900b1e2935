from __future__ import annotations

from emulator_api import Api

from airflow_provider_xpander.emulator import Emulator

NO_KEY = {"x-api-key": None}


def test_calls_and_runs_over_http(api: Api) -> None:
    task_id = api.start(title="t")["id"]
    (call,) = api("GET", "/_emulator/calls", headers=NO_KEY).json()
    assert (call["path"], call["status"], call["task_id"]) == ("/v1/agents/echo/invoke/async", 200, task_id)
    (run,) = api("GET", "/_emulator/runs", headers=NO_KEY).json()
    assert (run["task_id"], run["target_id"], run["title"], run["stops"]) == (task_id, "echo", "t", 0)


def test_faults_over_http(api: Api) -> None:
    fault = {"path": "/v1/agents$", "status": 503, "body": {"detail": "x"}, "times": None}
    assert api("POST", "/_emulator/faults", headers=NO_KEY, json=fault).status_code == 200
    assert api("GET", "/v1/agents").status_code == 503
    assert api("DELETE", "/_emulator/faults", headers=NO_KEY).status_code == 204
    assert api("GET", "/v1/agents").status_code == 200
    assert api("POST", "/_emulator/faults", json={"statsu": 503}).status_code == 422


def test_settings_over_http(api: Api, emulator: Emulator) -> None:
    answer = api("POST", "/_emulator/settings", headers=NO_KEY, json={"speed": 5})
    assert (answer.json()["speed"], answer.json()["run_seconds"]) == (5, 0.05)
    assert emulator.settings.speed == 5
    wrong = api("POST", "/_emulator/settings", json={"speed": 3, "sped": 5})
    assert (wrong.status_code, wrong.json()["detail"][0]["loc"]) == (422, ["sped"])
    assert emulator.settings.speed == 5


def test_reset_over_http(api: Api, emulator: Emulator) -> None:
    api.start()
    emulator.configure({"speed": 5})
    assert api("POST", "/_emulator/reset", headers=NO_KEY).status_code == 204
    assert (emulator.calls, emulator.tasks, emulator.runs()) == ([], {}, [])
    assert emulator.settings.speed == 5


def test_resume_over_http(api: Api) -> None:
    task_id = api.start("paused", "connector login")["id"]
    seen = api.until_status(task_id, "paused")
    assert seen["pending_eca_request"]["auth_url"].startswith("https://")
    resumed = api("POST", f"/_emulator/tasks/{task_id}/resume", headers=NO_KEY).json()
    assert (resumed["status"], resumed["pending_eca_request"]) == ("executing", None)
    api.until_status(task_id, "completed")


def test_finish_over_http(api: Api) -> None:
    one, two = api.start("slow", "take 60")["id"], api.start("slow", "take 60")["id"]
    done = api("POST", f"/_emulator/tasks/{one}/finish", headers=NO_KEY).json()
    assert (done["status"], done["result"]) == ("completed", "Done after 60 seconds.")
    how = {"status": "error", "result": "boom"}
    failed = api("POST", f"/_emulator/tasks/{two}/finish", json=how).json()
    assert (failed["status"], failed["result"]) == ("error", "boom")
    assert api("POST", "/_emulator/tasks/x/finish").status_code == 404


def test_fields_can_be_overridden(api: Api) -> None:
    task_id = api.start()["id"]
    fields = {"status": "RUNNING", "hitl_request": {"operation_id": "o", "content": "c"}}
    assert api("PATCH", f"/_emulator/tasks/{task_id}", headers=NO_KEY, json=fields).status_code == 200
    seen = api.get(task_id)
    assert {name: seen[name] for name in fields} == fields


def test_control_calls_are_not_recorded(api: Api, emulator: Emulator) -> None:
    api("GET", "/_emulator/calls")
    assert emulator.calls == []


def test_a_person_can_look_at_a_run_in_a_browser(api: Api) -> None:
    secret = {"user_tokens": {"crm": "hush-4711"}}
    paused = api.start("paused", text="<b>which?</b>", title="t", **secret)["id"]
    api.until_status(paused, "paused")
    page = api("GET", f"/_emulator/tasks/{paused}", headers=NO_KEY)
    assert page.headers["content-type"].startswith("text/html")
    assert "&lt;b&gt;which?" in page.text
    assert "hush-4711" not in page.text
    assert f"/_emulator/tasks/{paused}/resume" in page.text
    api("POST", f"/_emulator/tasks/{paused}/finish", headers=NO_KEY)
    ended = api("GET", f"/_emulator/tasks/{paused}", headers=NO_KEY).text
    assert "completed" in ended
    assert "refresh" not in ended
    assert api("GET", "/_emulator/tasks/nobody", headers=NO_KEY).status_code == 404
