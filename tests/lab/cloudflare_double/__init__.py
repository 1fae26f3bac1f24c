"""A strict double of Cloudflare's DNS records API, with the zone served as real DNS. See README.md."""

from __future__ import annotations

from cloudflare_double.access import Token
from cloudflare_double.faults import Fault
from cloudflare_double.inprocess import ZONE_ID, Cloudflare
from cloudflare_double.limits import Limit

__all__ = ["ZONE_ID", "Cloudflare", "Fault", "Limit", "Token"]
