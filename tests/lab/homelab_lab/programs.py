"""What runs on the hosts: each host's program as a command line, and the settings and secrets it is given."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from openwrt_double.factory import DEFAULTS
from openwrt_double.gl_factory import defaults

from . import certificates, machine
from .network import BY_NAME, NAMES, Host
from .paths import LAB, SECRETS, SSH, host_dir

ROUTEROS_PASSWORD = SECRETS / "routeros-password"
CLOUDFLARE_TOKEN = SECRETS / "cloudflare-token"
PFSENSE_ENVIRONMENT = {"HOME": "/root", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
ZONE = "example.org"
ZONE_ID = "023e105f4ecef8ad9ca31a8372d0c353"  # the one of Cloudflare's own documentation


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(LAB), "PYTHONUNBUFFERED": "1"}


def command(host: Host) -> list[str] | None:
    return COMMANDS[host.program](host) if host.program else None


def cloudflare(host: Host) -> list[str]:
    addresses = [a.partition("/")[0] for port in host.ports for a in port.addresses]
    return [
        *python(host, "--zone", ZONE, "--zone-id", ZONE_ID, "--token-file", CLOUDFLARE_TOKEN),
        *certificate_flags("cloudflare"),
        *(word for address in addresses for word in ("--address", address)),
        *(word for address in addresses for word in ("--static", f"api.cloudflare.com={address}")),
        *(word for name, ways in NAMES.items() for address in ways for word in ("--static", f"{name}={address}")),
    ]


def routeros(host: Host) -> list[str]:
    names = {"vlan30-k8s": "vlan30-kubernetes"}  # RouterOS takes names that the kernel does not
    ports = [port.name for port in host.ports]
    factory = host_dir(host.name) / "factory.json"
    factory.touch(0o600)
    password = ROUTEROS_PASSWORD.read_text().strip()
    # Everything else is the double's own: it leaves the factory as the home router of reference network A.
    factory.write_text(json.dumps({"/user": [{"name": "ansible", "group": "full", "password": password}]}))
    return [
        *python(host, *certificate_flags("mikrotik-gw"), "--factory", factory),
        *("--interface-map", ",".join(f"{names.get(port, port)}={port}" for port in ports)),
    ]


def ingress(host: Host) -> list[str]:
    return python(
        host,
        *(
            word
            for name in ("jellyfin", "grafana")
            for word in ("--site", f"{name}.{ZONE}", certificates.certificate(name), certificates.key(name))
        ),
    )


def pfsense(_host: Host) -> list[str]:
    """On its own disk: boots, then is sshd."""
    boot = "mkdir -p /run/sshd && php /opt/pfsense_double/php/double/rc.bootup.php && exec /usr/sbin/sshd -D -e"
    return ["/usr/bin/env", "-i", *(f"{name}={value}" for name, value in PFSENSE_ENVIRONMENT.items()), "sh", "-c", boot]


def openwrt(host: Host) -> list[str]:
    release = "gl-4.8" if host.name == "glinet" else "25.12"
    factory = host_dir(host.name) / "factory"
    factory.mkdir(exist_ok=True)
    for name, text in (defaults(release) if host.name == "glinet" else DEFAULTS).items():
        (factory / name).write_text(text)
    user_key, host_key = SSH / "id_ed25519.pub", SSH / "ssh_host_ed25519_key"
    return [
        *(sys.executable, "-m", "openwrt_double", str(openwrt_root(host)), "--config", str(factory)),
        *("--release", release, "--host-key", str(host_key), "--authorized-key", str(user_key)),
    ]


def openwrt_root(host: Host) -> Path:
    """The router's flash, which is the root of everything that runs on it."""
    return host_dir(host.name) / "root"


def python(host: Host, *arguments: str | Path) -> list[str]:
    """A package of tests/lab as a program that keeps its state in the host's directory."""
    state = host_dir(host.name) / "state"
    state.mkdir(mode=0o700, exist_ok=True)
    flags = [] if host.program == "ingress" else ["--state", str(state)]
    return [sys.executable, "-m", str(host.program), *flags, *map(str, arguments)]


def certificate_flags(name: str) -> list[str]:
    return ["--cert", str(certificates.certificate(name)), "--key", str(certificates.key(name))]


COMMANDS: dict[str, Callable[[Host], list[str]]] = {
    "debian": machine.command,
    "cloudflare_double": cloudflare,
    "routeros_double": routeros,
    "ingress": ingress,
    "pfsense_double": pfsense,
    "openwrt_double": openwrt,
}
assert {host.program for host in BY_NAME.values()} <= {None, *COMMANDS}
