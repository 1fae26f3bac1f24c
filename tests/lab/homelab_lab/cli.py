"""The command line of tests/lab/lab."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from . import lab, shell, wires
from .errors import LabError
from .network import BY_NAME, CASES, HOSTS, Host
from .paths import LAB

PACKAGES = LAB / "packages.txt"
STARTED = time.monotonic()


def say(text: str) -> None:
    print(f"lab {time.monotonic() - STARTED:5.1f} s  {text}", flush=True)


def host(name: str) -> Host:
    try:
        return BY_NAME[name]
    except KeyError:
        raise LabError(f"no host is called {name}. There are: {', '.join(BY_NAME)}") from None


def parser() -> argparse.ArgumentParser:
    main = argparse.ArgumentParser(prog="tests/lab/lab", description="Home networks on one machine, with real packets.")
    commands = main.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, help_text: str, *arguments: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help_text, description=help_text)
        for argument in arguments:
            command.add_argument(argument.lower(), metavar=argument)
        return command

    up = add("up", "start the lab, or what of it is off").add_mutually_exclusive_group()
    up.add_argument("--only", nargs="+", metavar="HOST", help="these, the routers before them, and the resolver")
    up.add_argument(
        "--network", choices=CASES, default="relay", help="the hosts of this network; %(default)s by default"
    )
    add("down", "stop the lab and remove all of it")
    add("status", "show the hosts and which are up; fails when none is")
    run = add("exec", "run a command on a host: exec HOST -- COMMAND…", "HOST")
    run.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    add("logs", "print a host's log", "HOST").add_argument("-f", "--follow", action="store_true", help="and what comes")
    add("reboot", "restart a host; its disk stays", "HOST")
    add("stop", "cut a host's power", "HOST")
    add("start", "give a host its power back", "HOST")
    add("udp-timeout", "when a NAT router forgets idle UDP mappings", "HOST", "SECONDS")
    return main


def check_machine() -> None:
    if here := os.environ.get("HOMELAB_LAB_HOST"):
        raise LabError(f"this is the lab's host {here}, from which the others cannot be seen. Call it on the machine")
    if os.geteuid() != 0:
        raise LabError("the lab makes network namespaces, which only root can. Try: sudo tests/lab/lab …")
    missing = []
    for line in PACKAGES.read_text().splitlines():
        package, _hash, program = (part.strip() for part in line.partition("#"))
        if package and not (shutil.which(program) or Path("/", program).is_file()):
            missing.append(package)
    if missing:
        raise LabError(f"these Debian packages are missing. Try: apt-get install {' '.join(missing)}")
    if not Path("/dev/net/tun").exists():
        raise LabError("/dev/net/tun is missing, and without it there is no tunnel. Try: modprobe tun")


def status() -> int:
    """Show every host; the exit status is 1 when none is up."""
    none_up = True
    for each in HOSTS:
        up = lab.is_up(each)
        none_up &= not up
        state = "up" if up else "starting" if lab.is_on(each) else "off"
        addresses = " ".join(address for port in each.ports for address in port.addresses)
        print(f"{each.name:12} {state:9} {each.about}\n{'':22} {addresses or 'sets its own addresses'}")
    return int(none_up)


def inside(name: str) -> tuple[Host, int]:
    pid = lab.first_process(host(name))
    if pid is None:
        raise LabError(f"{name} is off. Try: tests/lab/lab up --only {name}")
    return host(name), pid


def execute(name: str, words: Sequence[str]) -> None:
    words = words[1:] if words[:1] == ["--"] else words
    if not words:
        raise LabError(f"no command. Try: tests/lab/lab exec {name} -- ip address")
    shell.replace_with(*inside(name), words)


def logs(name: str, follow: bool) -> None:
    if host(name).is_machine:
        execute(name, ["journalctl", "--no-pager", "--boot", *(["--follow"] if follow else [])])
    if not lab.log_file(host(name)).exists():
        raise LabError(f"{name} has no log yet. Try: tests/lab/lab up")
    os.execvp("tail", ["tail", "--lines=+1", *(["--follow"] if follow else []), str(lab.log_file(host(name)))])


def udp_timeout(name: str, seconds: str) -> None:
    router, _pid = inside(name)
    if not router.nat:
        routers = ", ".join(each.name for each in HOSTS if each.nat)
        raise LabError(f"{name} is no NAT router. These are: {routers}")
    if not seconds.isdigit() or int(seconds) < 1:
        raise LabError(f"SECONDS is a whole number from 1, not {seconds}")
    wires.set_sysctls(router, wires.udp_timeout_sysctls(int(seconds)))


def dispatch(arguments: argparse.Namespace) -> int:
    match arguments.command:
        case "status":
            return status()
        case "exec":
            execute(arguments.host, arguments.words)
        case "logs":
            logs(arguments.host, arguments.follow)
        case "udp-timeout":
            udp_timeout(arguments.host, arguments.seconds)
        case command:
            with lab.locked(say) as lock:
                match command:
                    case "up":
                        names = [host(name).name for name in arguments.only or CASES[arguments.network]]
                        lab.up(names, lock, say)
                    case "down":
                        lab.down(say)
                    case "start":
                        lab.start(host(arguments.host), lock, say)
                    case "stop":
                        lab.power_off(host(arguments.host))
                    case "reboot":
                        lab.reboot(host(arguments.host), lock, say)
    return 0


def main() -> int:
    os.umask(0o022)
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"  # su and cron leave them out
    arguments = parser().parse_args()
    try:
        check_machine()
        return dispatch(arguments)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
    except subprocess.CalledProcessError as error:
        print(f"lab: {error.cmd[0]} failed with exit status {error.returncode}: {error.cmd}", file=sys.stderr)
    except KeyboardInterrupt:
        print("lab: interrupted. Try: tests/lab/lab down", file=sys.stderr)
        return 130
    return 1


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `lab status | head` ends quietly
    sys.exit(main())
