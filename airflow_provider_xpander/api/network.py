"""
Network around a connection: its proxy and its certificates, decided once for both drivers.

requests and httpx read the environment in ways of their own: one fails where the other goes on, or later,
with a run submitted in between. So neither reads it; both are told.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import re
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from airflow_provider_xpander.api.errors import XpanderValidationError
from airflow_provider_xpander.api.settings import Settings
from airflow_provider_xpander.api.text import printable

_DEFAULT_PORTS = {"http": 80, "https": 443}
_NO_TLS = re.compile(
    r"wrong.version.number|record layer failure|unknown.protocol|packet length too long", re.I
)


@dataclass(frozen=True)
class Proxy:
    """
    A proxy that can be used.

    :param url: its URL, which may hold credentials.
    :param origin: where it was found, in words.
    """

    url: str = field(repr=False)
    origin: str

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        port = f":{parts.port}" if parts.port else ""
        return f"the proxy {parts.scheme}://{parts.hostname}{port} ({self.origin})"


def check_proxy(url: str) -> str:
    """
    Return the URL of a proxy that both drivers can use.

    :param url: the URL.
    :raises ValueError: says what it must be; the URL is not in it, because it may hold a password.
    """
    parts = split_url(url)
    if parts is None or parts.scheme not in ("http", "https", "socks5", "socks5h"):
        raise ValueError(
            "the URL of a proxy, such as http://proxy:3128: http, https, socks5 or socks5h, a host, and a "
            "port from 1 to 65535"
        )
    try:
        unquote(f"{parts.username}:{parts.password}").encode("latin-1")
    except UnicodeError:
        raise ValueError("the URL of a proxy whose credentials a header can carry") from None
    if parts.scheme.startswith("socks"):
        missing = [
            extra
            for module, extra in (("socks", "requests[socks]"), ("socksio", "httpx[socks]"))
            if importlib.util.find_spec(module) is None
        ]
        if missing:
            needed = " ".join(f"'{extra}'" for extra in missing)
            raise ValueError(f"a proxy that can be used; for socks5, pip install {needed}")
    return url


def split_url(url: str) -> SplitResult | None:
    """
    Take a URL apart, or return None if nothing can be reached by it: no host, or a port that is none.

    :param url: the URL.
    """
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
        if ":" in host:
            ipaddress.ip_address(host.partition("%")[0])
        else:
            host.encode("idna")
    except ValueError:  # of UnicodeError too
        return None
    wrong = not host or port == 0 or re.search(r"[\s\x00-\x1f\x7f]", url)
    return None if wrong else parts


def proxy_of(settings: Settings, environ: Mapping[str, str] = os.environ) -> Proxy | None:
    """
    Find the proxy by which a service is reached: the connection's, or the environment's, or none.

    :param settings: those of the connection.
    :param environ: the environment, for ``NO_PROXY`` and for the names of variables in messages.
    :raises XpanderValidationError: it, or the base URL, cannot be used; says where it was found.
    """
    base = split_url(settings.base_url)
    if base is None or base.scheme not in ("http", "https"):
        raise XpanderValidationError(
            f"{settings.name}: {settings.base_url!r} is no base URL that can be asked."
        )
    if settings.proxy:
        found: tuple[str, str] | None = (settings.proxy, f"field 'proxy' of {settings.name}")
    else:
        found = _of_environment(base, environ)
    if found is None:
        return None
    url, origin = found
    try:
        return Proxy(check_proxy(url), origin)
    except ValueError as error:
        raise XpanderValidationError(f"{settings.name}: {origin} must be {error}.") from None


def _of_environment(base: SplitResult, environ: Mapping[str, str]) -> tuple[str, str] | None:
    proxies = urllib.request.getproxies()
    for kind in (base.scheme, "all"):
        url = proxies.get(kind)
        if url:
            if bypasses(base, environ.get("no_proxy") or environ.get("NO_PROXY") or ""):
                return None
            name = next(
                (name for name in (f"{kind}_proxy", f"{kind}_proxy".upper()) if environ.get(name)), "proxy"
            )
            return url.strip() if "://" in url else f"http://{url.strip()}", f"the environment's {name}"
    return None


def bypasses(parts: SplitResult, no_proxy: str) -> bool:
    """
    Tell whether ``NO_PROXY`` says that a host is reached without the proxy.

    Entries stand between commas, blanks or newlines. Each is ``*``, a host (its subdomains are meant too), an
    address, or a range of addresses, with or without a port. What is none of these means nothing.

    :param parts: the URL that is asked.
    :param no_proxy: value of the variable.
    """
    host = (parts.hostname or "").rstrip(".")
    port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    return any(_matches(entry.lower(), host, port) for entry in re.split(r"[,\s]+", no_proxy) if entry)


def _matches(entry: str, host: str, port: int | None) -> bool:
    if entry == "*":
        return True
    entry = entry.partition("://")[2] or entry
    named = re.fullmatch(r"\[([^\]]*)\](?::(\d+))?|([^:]*):(\d+)", entry)
    if named is not None:
        if (named[2] or named[4]) not in (None, str(port)):
            return False
        entry = named[1] if named[1] is not None else named[3]
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        name = entry.removeprefix("*").strip(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))


def not_reached(settings: Settings, reason: str) -> str:
    """
    Say that a service cannot be reached, by which proxy, and why.

    :param settings: those of the connection.
    :param reason: what went wrong, in the words of a library.
    """
    proxy = proxy_of(settings)
    where = f"cannot reach {settings.base_url}" + (f" through {proxy}" if proxy else "")
    if settings.base_url.startswith("https:") and _NO_TLS.search(reason):
        plain = settings.base_url.replace("https:", "http:", 1)
        return f"{where}: it does not speak TLS; if that is meant, write {plain} as the connection's host"
    return f"{where} ({reason})"


def ca_path(verify: bool | str) -> str:
    """
    Return the path of the CA file or folder by which certificates are checked.

    :param verify: that of the connection, or True for the environment's, else certifi's.
    :raises XpanderValidationError: the environment names a path that does not exist.
    """
    if isinstance(verify, str):
        return verify
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        path = os.environ.get(name)
        if path:
            if not os.path.exists(path):
                raise XpanderValidationError(f"the environment's {name} names {path!r}, which does not exist")
            return path
    import certifi

    return certifi.where()


def verify_of(settings: Settings) -> bool | str:
    """
    Tell by what certificates are checked: False for not at all, or a path.

    :param settings: those of the connection.
    :raises XpanderValidationError: the environment names a path that does not exist.
    """
    if not settings.verify or settings.base_url.startswith("http:"):
        return bool(settings.verify)
    return ca_path(settings.verify)


def check_network(settings: Settings) -> None:
    """
    Check what the environment adds to a connection before anything is submitted over it.

    :param settings: those of the connection.
    :raises XpanderValidationError: its proxy or its certificates cannot be used.
    """
    proxy_of(settings)
    verify_of(settings)


def reason_of(error: BaseException) -> str:
    """
    Say what went wrong in short: the innermost cause, without the addresses of Python objects.

    :param error: that of an HTTP library.
    """
    inner: BaseException = error
    while True:
        deeper = getattr(inner, "reason", None) or next(
            (arg for arg in inner.args if isinstance(arg, BaseException)), None
        )
        if not isinstance(deeper, BaseException):
            break
        inner = deeper
    text = printable(inner, 200)
    return text.split(">: ", 1)[-1] or type(inner).__name__
