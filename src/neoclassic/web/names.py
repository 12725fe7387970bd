"""Whom the server answers: requests that call it by a name of its own, and no page of another site.

A page of another site can have its own name lead to this server's address; to the browser both are then one site, and
the page reads what it likes. So a name that is not the server's own is refused. An address is nobody else's name.
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
    """Whether a name or an address leads to this machine alone."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Names:
    """What the server is called: localhost, any address, and the names in `allowed`; "*" among them is every name."""

    allowed: frozenset[str] = frozenset()

    @classmethod
    def of(cls, names: Iterable[str] = ()) -> Names:
        """These names and this machine's. UsageError for what cannot be a name."""
        for name in names:
            if not name or re.search(r"[/\s@]", name):
                raise UsageError(f"a host is a name such as models.example.org, not {name!r}")
        return cls(frozenset(map(_bare, (*names, socket.gethostname()))))

    def refusal(self, method: str, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """The status and the line that a request is refused with, or None. The names of headers are in lower case."""
        host, origin = headers.get("host"), headers.get("origin")
        if host is not None and not self._is_own(_bare(host)):
            return 421, f"this server is not called {_bare(host)[:100]!r}: 'serve --allow-host NAME' adds a name"
        if method != "POST" or origin is None or headers.get("sec-fetch-site") == "same-origin":
            return None
        place = urlsplit(origin).netloc
        if place and (place == host or ANY in self.allowed or _bare(place) in self.allowed):
            return None
        return 403, f"a page of {origin[:100]!r} may not ask this server: 'serve --allow-host NAME' lets a site's pages"

    def _is_own(self, name: str) -> bool:
        if ANY in self.allowed or name in self.allowed or name == "localhost" or name.endswith(".localhost"):
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True


def _bare(host: str) -> str:
    """The name or the address alone, in lower case: without a port, brackets and a dot at its end."""
    parts = re.fullmatch(r"\[(.*)\](?::\d*)?|([^:]*)(?::\d*)?", host)
    return (host if parts is None else parts[1] or parts[2]).rstrip(".").lower()
