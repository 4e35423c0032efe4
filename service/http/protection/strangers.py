"""Requests that a web page of another site makes a browser send, by its own name or by a borrowed one.

A page may send a POST to any address that its visitor's browser reaches; browsers tell by `Origin` and
`Sec-Fetch-Site`. And a page may let its own name point to that address (DNS rebinding); `Host` tells.
"""

from collections.abc import Mapping, Sequence
from ipaddress import ip_address

from service.errors import CrossSite, UnknownHost
from service.settings import Settings

_OTHER_SITE = "A page of another site sent this; WHITEBOX_CORS_ORIGINS names the sites that may."
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
# How many values of Host are remembered as known; clients may make up ports.
_REMEMBERED = 1000


class Strangers:
    """Refuses requests of pages of other sites.

    Args:
        hosts: Names that the service answers for, without ports; `*.NAME` for all below, `*` for all.
        origins: Origins of other sites whose pages may send requests; `*` for all.
    """

    def __init__(self, hosts: Sequence[str], origins: Sequence[str]) -> None:
        self._hosts = None if "*" in hosts else [host.lower() for host in hosts]
        self._all_origins = "*" in origins
        self._origins = frozenset(origin.encode() for origin in origins)
        self._known_hosts: set[bytes | None] = set()

    @classmethod
    def from_settings(cls, settings: Settings) -> "Strangers":
        """Returns what the settings ask for: loopback names where it listens on loopback, else all hosts."""
        hosts = settings.allowed_hosts or (_LOOPBACK if _is_loopback(settings.host) else ("*",))
        return cls(hosts, settings.cors_origins)

    def refuse(self, headers: Mapping[bytes, bytes], method: str, path: str) -> None:
        """Lets requests of other clients than web pages pass, of own pages, and of pages that are allowed.

        Raises:
            UnknownHost: It asks for a host that is none of ours.
            CrossSite: A page of another site sent it.
        """
        host = headers.get(b"host")
        if self._hosts is not None and host not in self._known_hosts:
            self._check_host(host, path)
        origin = headers.get(b"origin")
        if origin is not None:
            own = origin.partition(b"://")[2] == host
            if not own and not self._all_origins and origin not in self._origins:
                raise CrossSite(
                    "A page of another site sent this; WHITEBOX_CORS_ORIGINS names those that may."
                )
        elif headers.get(b"sec-fetch-site") == b"cross-site" and not self._all_origins:
            is_link = method == "GET" and headers.get(b"sec-fetch-mode") == b"navigate"
            if not is_link:
                raise CrossSite(
                    "A page of another site sent this; WHITEBOX_CORS_ORIGINS names those that may."
                )

    def _check_host(self, host: bytes | None, path: str) -> None:
        if path.startswith("/v2/health/"):  # probes ask by address
            return
        name = _without_port((host or b"").decode("latin-1").lower())
        for known in self._hosts or ():
            if name == known or (known.startswith("*.") and name.endswith(known[1:])):
                if len(self._known_hosts) < _REMEMBERED:
                    self._known_hosts.add(host)
                return
        raise UnknownHost(
            f"This service does not answer for {name!r}; WHITEBOX_ALLOWED_HOSTS names the hosts."
        )


def _without_port(host: str) -> str:
    end = host.find("]") if host.startswith("[") else host.find(":") - 1
    return host[: end + 1] if end >= 0 else host


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
