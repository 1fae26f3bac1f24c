"""Whatever is switched off and on again, the path returns by itself.

After a reboot of the VPS the home's side notices when its session is due for a new handshake, which WireGuard makes at
most 120 s after the last one, with the next keepalive: 145 s in all.
"""

from __future__ import annotations

import pytest

from tests.integration.relay.lab import is_open, lab, until

DIALLING = 30
NOTICING = 120 + 25 + DIALLING


@pytest.mark.usefixtures("relay")
@pytest.mark.parametrize(
    ("hosts", "seconds"),
    [(["vps-relay"], NOTICING), (["vps-relay", "mikrotik-gw"], DIALLING), (["mikrotik-gw"], DIALLING)],
)
def test_the_path_returns(hosts: list[str], seconds: float) -> None:
    for host in hosts:
        lab("reboot", host)
    waited = until(is_open, seconds, "the path is back")
    print(f"after a reboot of {' and '.join(hosts)}: {waited:.1f} s")
