"""Role cloudflare_dns, run as the reference command line runs it: one task on the controller, no token in sight."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cloudflare_double import Cloudflare

TOKEN = "dns-write-token-0001"
ROOT = Path(__file__).parents[3]
PLAY: list[dict[str, Any]] = [
    {
        "hosts": "vps",
        "gather_facts": False,
        "become": True,
        "roles": [{"role": "homelab.fabric.cloudflare_dns", "when": "cloudflare_dns_api_token | length > 0"}],
        "vars": {
            "cloudflare_dns_prune": True,
            "cloudflare_dns_records": [
                {"name": "jellyfin.example.org", "content": "203.0.113.10"},
                {"name": "jellyfin.example.org", "type": "AAAA", "content": "2001:db8:113::10"},
            ],
        },
    }
]


def play(zone: Cloudflare, folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    file = folder / "play.json"
    file.write_text(json.dumps(PLAY))
    variables = {"cloudflare_zone_id": zone.zone_id, "cloudflare_dns_base_url": zone.base_url}
    command = [
        str(Path(sys.executable).with_name("ansible-playbook")),
        "-i",
        "vps,",
        str(file),
        "-e",
        json.dumps(variables),
    ]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CLOUDFLARE_")}
    return subprocess.run(
        [*command, *arguments],
        cwd=ROOT,
        env={**inherited, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("way", ["variable", "environment"])
def test_records_are_made_and_the_token_is_nowhere_in_the_output(tmp_path: Path, way: str) -> None:
    with Cloudflare("example.org", TOKEN) as zone:
        if way == "variable":
            done = play(zone, tmp_path, "-vvv", "--diff", "-e", f"cloudflare_api_token={TOKEN}")
        else:
            done = play(zone, tmp_path, "-vvv", "--diff", CLOUDFLARE_API_TOKEN=TOKEN)
        assert done.returncode == 0, done.stdout
        assert "+jellyfin.example.org AAAA 2001:db8:113::10 ttl=auto DNS-only" in done.stdout
        assert TOKEN not in done.stdout + done.stderr
        assert [entry.method for entry in zone.requests] == ["GET", "POST"]


def test_a_refused_token_is_not_printed_either(tmp_path: Path) -> None:
    with Cloudflare("example.org", TOKEN) as zone:
        done = play(zone, tmp_path, "-vvv", "-e", "cloudflare_api_token=mistyped-token-0009")
        assert done.returncode == 2
        assert "api_token: Cloudflare refuses the token when listing" in done.stdout + done.stderr
        assert "mistyped-token" not in done.stdout + done.stderr


def test_without_a_token_the_role_can_be_skipped(tmp_path: Path) -> None:
    with Cloudflare("example.org", TOKEN) as zone:
        done = play(zone, tmp_path)
        assert done.returncode == 0, done.stdout
        assert "failed=0    skipped=2" in done.stdout
        assert zone.requests == []
