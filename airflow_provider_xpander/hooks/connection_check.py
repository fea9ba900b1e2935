"""The test of a connection: what it asks of the service, and what it says of each reply."""

from __future__ import annotations

import re

from airflow_provider_xpander.api import routes
from airflow_provider_xpander.api.client import Client
from airflow_provider_xpander.api.errors import (
    XpanderAuthError,
    XpanderConnectionError,
    XpanderError,
    XpanderNotFoundError,
    XpanderServiceError,
    XpanderValidationError,
)
from airflow_provider_xpander.api.retry import ONCE


def ask(client: Client) -> tuple[bool, str]:
    """
    Ask the service for one agent, and say in a sentence what came of it.

    :param client: the client of the connection.
    """
    url = client.settings.base_url
    try:
        page = client.call(routes.list_agents(per_page=1), policy=ONCE)
    except XpanderAuthError as error:
        if error.status_code == 401:
            said = f"{url} does not accept the API key: check the connection's password."
            return False, said + (" Is it the xpander.ai API?" if "base URL" in str(error) else "")
        return False, f"{url} knows the API key, but the key has no access to the list of agents."
    except XpanderConnectionError as error:
        said = str(error).removeprefix("list agents: ").rstrip(".")
        if "does not speak TLS" in said:
            return False, f"{said}."
        return False, f"{said}: {_hint(said)}."
    except XpanderServiceError as error:
        if error.status_code is not None and error.status_code >= 500:
            problem = f"answers with a server error (HTTP {error.status_code})"
            return False, f"{url} {problem}: try again later."
        return False, _not_xpander(url, error)
    except (XpanderNotFoundError, XpanderValidationError) as error:
        return False, _not_xpander(url, error) if error.status_code in (404, 405, 410) else str(error)
    except XpanderError as error:
        return False, str(error)
    found = page.items[0].organization_id if page.items else None
    organization = f", organization {found}" if found else ""
    return True, f"Connected to {url}{organization}: {page.total or len(page.items)} agents are visible."


def _hint(said: str) -> str:
    if "host name is unknown" in said:
        return "check the host"
    if re.search("certificate.verify.failed", said, re.IGNORECASE):
        return "check the certificate, and the CA in the extra field verify"
    return "check network, port and proxy"


def _not_xpander(url: str, error: XpanderError) -> str:
    return f"{url} answers, but not as the xpander.ai API does: check the host. {error}"
