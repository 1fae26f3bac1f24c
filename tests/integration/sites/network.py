"""A network of simulated routers in this process, and the playbook run over it. Neither lab nor root is needed."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from routeros_double import RouterOS

ROOT = Path(__file__).resolve().parents[3]
PLAYBOOK = "playbooks/site-to-site.yml"


class Sites:
    """`count` routers with RouterOS on ports of this computer, node0 and so on, a network behind each.

    `dialled`: those with an endpoint. `nodes` and `network` are merged into the document. Packets between them are
    answered; see `RouterOS.plane.answering`.
    """

    def __init__(
        self,
        folder: Path,
        count: int,
        dialled: Sequence[int] = (0,),
        nodes: Mapping[str, Any] | None = None,
        **network: Any,
    ) -> None:
        self.routers = {f"node{number}": RouterOS(certificate=False) for number in range(count)}
        document: dict[str, Any] = {
            name: {
                "device": "routeros",
                "address": f"10.64.{number // 250}.{number % 250 + 1}",
                "networks": [f"172.20.{number}.0/24"],
                "endpoint": f"203.0.113.{number + 1}" if number in dialled else None,
                **(nodes or {}).get(name, {}),
            }
            for number, name in enumerate(self.routers)
        }
        for router in self.routers.values():
            router.plane.answering.update({f"172.20.{number}.1": 1.5 for number in range(count)})
        self.inventory = folder / "inventory.json"
        variables = {"wireguard_networks": {"sites": {"prefix": "10.64.0.0/16", **network, "nodes": document}}}
        hosts = {name: self._connection(router) for name, router in self.routers.items()}
        self.inventory.write_text(json.dumps({"all": {"vars": variables, "hosts": hosts}}))

    def _connection(self, router: RouterOS) -> dict[str, Any]:
        names = {"hostname": router.host, "port": router.port, "username": router.user, "password": router.password}
        return {f"mikrotik_wireguard_{name}": value for name, value in names.items()} | {
            "mikrotik_wireguard_tls": False
        }

    def __enter__(self) -> Sites:
        for router in self.routers.values():
            router.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for router in self.routers.values():
            router.stop()

    def play(self, *options: str) -> Run:
        words: list[str | Path] = [ROOT / ".venv/bin/ansible-playbook", "-i", self.inventory, *options, PLAYBOOK]
        environment = os.environ | {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "0"}
        done = subprocess.run(words, cwd=ROOT, env=environment, text=True, capture_output=True, check=False)
        return Run(done.returncode, done.stdout + done.stderr)

    def peers(self, name: str) -> set[str]:
        rows = self.routers[name].rows("/interface/wireguard/peers")
        return {row["comment"].removeprefix("homelab.fabric: ") for row in rows}


class Run:
    """A run's exit status, what it printed, and its recap: by host, the counts by name."""

    def __init__(self, status: int, output: str) -> None:
        self.status, self.output = status, output
        lines = re.findall(r"(?m)^(\S+) +: (ok=.*)$", output)
        self.recap: Mapping[str, Mapping[str, int]] = {
            host: {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", counts)} for host, counts in lines
        }

    def total(self, what: str) -> int:
        return sum(counts[what] for counts in self.recap.values())

    def ok(self) -> Run:
        assert self.status == 0, self.output[-3000:]
        return self
