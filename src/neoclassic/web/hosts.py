"""The hosts under whose names the server answers, and the sites whose pages may send it images.

A page of another site can point its own host name at this server's address. The browser then treats both as one site,
and the page can read the answers (DNS rebinding). So the server refuses a request whose Host header is not one of its
own names. An IP address is always accepted: it cannot be another site's name.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from neoclassic.base.errors import UsageError

ANY = "*"


def is_loopback(host: str) -> bool:
    """Whether a host name or IP address is this machine's loopback interface."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class AllowedHosts:
    """localhost, every IP address, and the host names in `names`; "*" among them allows every name."""

    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, names: Iterable[str] = ()) -> AllowedHosts:
        """These names and this machine's host name. UsageError for what is not a host name."""
        for name in names:
            if not name or re.search(r"[/\s@]", name):
                raise UsageError(f"a host is a name such as models.example.org, not {name!r}")
        return cls(frozenset(map(_host_only, (*names, socket.gethostname()))))

    def refusal(self, method: str, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """The HTTP status and the message to refuse a request with, or None. `headers` has lower-case names."""
        host, origin = headers.get("host"), headers.get("origin")
        if host is not None and not self._is_own(_host_only(host)):
            name = _host_only(host)[:100]
            return 421, f"this server does not answer to the host {name!r}: allow it with 'serve --allow-host NAME'"
        if method != "POST" or origin is None or headers.get("sec-fetch-site") == "same-origin":
            return None
        try:
            site = urlsplit(origin).netloc
        except ValueError:  # "http://["
            site = ""
        if site and (site == host or ANY in self.names or _host_only(site) in self.names):
            return None
        return 403, f"pages of {origin[:100]!r} may not use this server: allow them with 'serve --allow-host NAME'"

    def _is_own(self, name: str) -> bool:
        if ANY in self.names or name in self.names or name == "localhost" or name.endswith(".localhost"):
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True


def _host_only(host: str) -> str:
    """The host name or IP address in lower case, without the port, brackets and a trailing dot."""
    parts = re.fullmatch(r"\[(.*)\](?::\d*)?|([^:]*)(?::\d*)?", host)
    return (host if parts is None else parts[1] or parts[2]).rstrip(".").lower()
