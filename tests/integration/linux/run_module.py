"""Run linux_wireguard (or --module) as a module does, from JSON on standard input; print its result as JSON.

``--die-at N`` kills this process in place of its N-th write: a command, or a file put into place or removed
(N counts from 0). Exit status 99 says that it died there.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
from typing import Any

from ansible.module_utils import basic
from ansible_collections.homelab.fabric.plugins.module_utils import linux
from ansible_collections.homelab.fabric.plugins.module_utils.converge import Command
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import Tunnel
from ansible_collections.homelab.fabric.plugins.modules import linux_wireguard, wireguard_client

DIED = 99
MODULES = {"linux_wireguard": linux_wireguard, "wireguard_client": wireguard_client}


class Countdown:
    """Ends the process, without any tidying up, when its turn has come."""

    def __init__(self, left: int) -> None:
        self.left = left

    def tick(self) -> None:
        if self.left == 0:
            os._exit(DIED)
        self.left -= 1


def die_at(number: int) -> None:
    countdown = Countdown(number)
    replace, remove = os.replace, os.remove
    plan = linux.LinuxBackend.commands

    def mortal_replace(source: str, target: str) -> None:
        countdown.tick()
        replace(source, target)

    def mortal(step: Command) -> Command:
        def run() -> None:
            countdown.tick()
            step.run()

        return Command(step.text, run)

    def mortal_plan(self: linux.LinuxBackend, current: Tunnel | None, target: Tunnel | None) -> list[Command]:
        return [mortal(step) for step in plan(self, current, target)]

    def mortal_remove(path: str) -> None:
        countdown.tick()
        remove(path)

    os.replace, os.remove = mortal_replace, mortal_remove  # type: ignore[assignment]
    linux.LinuxBackend.commands = mortal_plan  # type: ignore[method-assign]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--die-at", type=int)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--module", choices=MODULES, default="linux_wireguard")
    options = parser.parse_args()
    if options.die_at is not None:
        die_at(options.die_at)
    arguments: dict[str, Any] = json.load(sys.stdin)
    arguments |= {"_ansible_check_mode": options.check, "_ansible_diff": True}
    basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
    basic._ANSIBLE_PROFILE = "legacy"
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        MODULES[options.module].main()
    print(output.getvalue().strip().splitlines()[-1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
