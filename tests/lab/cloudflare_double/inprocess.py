"""The double inside a test: plain HTTP on loopback, no files, ready in milliseconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from cloudflare_double.access import Token
from cloudflare_double.api import PREFIX, Api
from cloudflare_double.faults import Fault
from cloudflare_double.journal import Entry
from cloudflare_double.limits import Limit, RateLimiter
from cloudflare_double.serving import Listening, start, stop
from cloudflare_double.web import WebServer
from cloudflare_double.zones import Zone, Zones

if TYPE_CHECKING:
    from cloudflare_double.resolving import Resolver

LOOPBACK = "127.0.0.1"
ZONE_ID = "0123456789abcdef0123456789abcdef"


class Cloudflare:
    """``with Cloudflare(zone="example.org", token="…") as cf: … cf.base_url …``

    ``token`` may write records of ``zone`` and nothing more; ``tokens`` adds others. ``other_zones`` maps further
    zones' names to their ids. ``dns=True`` also answers DNS, on ``dns_port`` of 127.0.0.1, UDP and TCP.
    """

    def __init__(
        self,
        zone: str = "example.org",
        token: str = "dns-write-token",
        *,
        zone_id: str = ZONE_ID,
        tokens: Sequence[Token] = (),
        other_zones: Mapping[str, str] | None = None,
        plan: str = "free",
        quote_txt: bool = True,
        limits: Sequence[Limit] | None = None,
        dns: bool = False,
        static: Iterable[tuple[str, str]] = (),
    ) -> None:
        self.zone, self.zone_id, self.token = zone, zone_id, token
        every_zone = {zone: zone_id, **(other_zones or {})}
        zones = Zones([Zone(name, id, plan=plan, quote_txt=quote_txt) for name, id in every_zone.items()])
        own = Token(token, frozenset({"dns_write"}), frozenset({zone}), "own")
        self.api = Api(zones, [own, *tokens], limiter=RateLimiter(limits))
        self.dns_port = 0
        self._dns = dns
        self._static = list(static)
        self._servers: list[Listening] = []

    def __enter__(self) -> Cloudflare:
        web = WebServer(self.api, LOOPBACK, 0)
        self._servers.append(web)
        self.base_url = f"http://{LOOPBACK}:{web.port}{PREFIX}"
        if self._dns:
            from cloudflare_double.dns_server import servers  # dnspython takes longer to load than all the rest

            self._servers += servers(self._resolver(), LOOPBACK, 0)
            self.dns_port = self._servers[-1].port
        for server in self._servers:
            start(server)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            stop(server)
        self._servers.clear()

    def fail(self, **fault: Any) -> None:
        """Orders a mishap for the next requests: the fields of ``faults.Fault``."""
        self.api.faults.add(Fault(**fault))

    def seed(self, *bodies: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Puts records into the zone as if they had always been there: no request, no write."""
        zone = self._zone()
        with self.api.zones.change(zone) as draft:
            return [draft.create({"ttl": 1, **body}).render() for body in bodies]

    @property
    def records(self) -> list[dict[str, Any]]:
        """The zone's records as the API would answer them, by name, type and content."""
        shown = [record.render() for record in self._zone().records.values()]
        return sorted(shown, key=lambda record: (record["name"], record["type"], record["content"]))

    @property
    def requests(self) -> list[Entry]:
        return self.api.journal.entries

    @property
    def writes(self) -> int:
        """How many requests changed something."""
        return self.api.journal.writes

    def _zone(self) -> Zone:
        return next(iter(self.api.zones))

    def _resolver(self) -> Resolver:
        from cloudflare_double.resolving import Resolver

        return Resolver(self.api.zones, static=self._static, own=[LOOPBACK, "::1"])
