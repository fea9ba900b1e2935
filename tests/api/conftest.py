from __future__ import annotations

from pathlib import Path

import pytest
from certificates import Certificates, make_certificates
from drivers import Driver, over_httpx, over_requests

from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.emulator import EmulatorServer
from airflow_provider_xpander.emulator import Settings as EmulatorSettings


@pytest.fixture(params=[over_requests, over_httpx], ids=["requests", "httpx"])
def driver(request: pytest.FixtureRequest) -> Driver:
    return request.param


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Proxies, certificates and passwords of the machine are none of the tests' business."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def service(xpander_server: EmulatorServer) -> EmulatorServer:
    """The emulator with no history; runs end at once."""
    xpander_server.emulator.reset(EmulatorSettings(run_seconds=0.0))
    return xpander_server


@pytest.fixture
def settings(service: EmulatorServer) -> Settings:
    return Settings(base_url=service.url, api_key=service.api_key)
