"""vps_relay_info on a host whose programs and files say what the test wants: as Debian 12 said it in the lab."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible_collections.homelab.fabric.plugins.module_utils import relay_host
from ansible_collections.homelab.fabric.plugins.modules import vps_relay_info

Answer = dict[str, Any]
Run = Callable[..., Answer]

ACCEPT = """\
-P INPUT DROP
-A INPUT -p udp -m udp --dport 9999 -j ACCEPT
-A {chain} -p tcp -m multiport --dports 443,2222 -m comment --comment "\\'dapp_homelab-fabric\\'" -j ACCEPT
-A {chain} -p udp -m multiport --dports 51820 -m comment --comment "\\'dapp_homelab-fabric\\'" -j ACCEPT
"""
RULES = """\
### tuple ### allow tcp 443,2222 0.0.0.0/0 any 0.0.0.0/0 homelab-fabric - in
-A ufw-user-input -p tcp -m multiport --dports 443,2222 -j ACCEPT -m comment --comment 'dapp_homelab-fabric'

### tuple ### allow udp 51820 0.0.0.0/0 any 0.0.0.0/0 homelab-fabric - in
-A ufw-user-input -p udp --dport 51820 -j ACCEPT -m comment --comment 'dapp_homelab-fabric'
"""
SAID = {
    "dpkg-query": "nginx installed\nufw installed\nnftables config-files\n",
    "sshd": "port 22\naddressfamily any\nlistenaddress [::]:2222\nlistenaddress 0.0.0.0:2222\n",
    "ss": (
        'LISTEN 0 128 0.0.0.0:2222 0.0.0.0:* users:(("sshd",pid=48,fd=3))\n'
        'LISTEN 0 511 [::]:443 [::]:* users:(("nginx",pid=1037,fd=9),("nginx",pid=1036,fd=9))\n'
        'LISTEN 0 511 *:80 *:* users:(("apache2",pid=77,fd=4))\n'
    ),
    "systemctl": "MainPID=0\nId=nginx.service\nUnitFileState=enabled\n\nListen=[::]:22 (Stream)\nId=ssh.socket\n",
    "iptables": ACCEPT.format(chain="ufw-user-input"),
    "ip6tables": ACCEPT.format(chain="ufw6-user-input"),
}
FILES = {
    "/etc/ufw/ufw.conf": "# on or off\nENABLED=yes\nLOGLEVEL=low\n",
    "/etc/default/ufw": 'IPV6=yes\nDEFAULT_INPUT_POLICY="DROP"\nDEFAULT_FORWARD_POLICY="DROP"\n',
    "/etc/ufw/user.rules": RULES,
    "/etc/ufw/user6.rules": RULES,
    "/etc/sysctl.d/60-homelab-fabric.conf": "net.ipv4.tcp_mtu_probing=1\nnet.ipv4.conf.all.rp_filter = 2\n",
    "/proc/sys/net/ipv4/tcp_mtu_probing": "1\n",
    "/proc/sys/net/ipv4/conf/all/rp_filter": "0\n",
}


class Host:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.files = dict(FILES)
        self.ssh_connection = ""
        for name, text in SAID.items():
            self.says(name, text)
        monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(relay_host, "has_ipv6", lambda: True)
        monkeypatch.setattr(relay_host, "_read", self.read)

    def says(self, name: str, text: str) -> None:
        (self.folder / f"{name}.txt").write_text(text)
        (self.folder / name).write_text(f"#!/bin/sh\ncat '{self.folder}/{name}.txt'\n")
        (self.folder / name).chmod(0o755)

    def read(self, path: str) -> str:
        if path.endswith("/environ"):
            return f"A=1\0{self.ssh_connection}B=2\0" if path != f"/proc/{os.getpid()}/environ" else "A=1\0"
        if path.startswith("/proc/") and path not in self.files:
            try:
                return Path(path).read_text(encoding="utf-8", errors="replace")
            except OSError:
                return ""
        return self.files.get(path, "")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


@pytest.fixture
def run(host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the module in this process."""

    def run_module(**arguments: Any) -> Answer:
        given = {
            "packages": ["nginx", "ufw"],
            "services": [{"port": 443, "upstream": "10.30.0.200"}],
            "open_ports": ["51820/udp"],
            "profile": "homelab-fabric",
            "nginx_config": "/no/such/file",
            "sysctl_file": "/etc/sysctl.d/60-homelab-fabric.conf",
            **arguments,
        }
        monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": given}).encode())
        monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)  # ansible-core 2.19 and later
        with pytest.raises(SystemExit):
            vps_relay_info.main()
        answer: Answer = json.loads(capsys.readouterr().out)
        return answer

    return run_module


def test_a_host_that_has_it_all(run: Run) -> None:
    answer = run()
    assert answer["missing_packages"] == []
    assert answer["services"] == [{"port": 443, "upstream": "10.30.0.200:443", "proxy_protocol": False}]
    assert answer["ports"] == "443,2222/tcp|51820/udp"
    assert (answer["firewall_set_up"], answer["firewall_loaded"]) == (True, True)
    assert run(packages=["nginx", "nftables", "wireguard-tools"])["missing_packages"] == ["nftables", "wireguard-tools"]


def test_a_blank_host_lacks_everything_and_says_so(run: Run, host: Host) -> None:
    host.files = {}
    for name in SAID:
        host.says(name, "")
    host.ssh_connection = "SSH_CONNECTION=198.51.100.20 50000 203.0.113.10 2222\0"
    answer = run(files=["/no/such/file"], sysctls={"net.ipv4.tcp_mtu_probing": 1})
    assert answer["missing_packages"] == ["nginx", "ufw"]
    assert answer["ssh_ports"] == [2222]
    assert not (answer["firewall_set_up"])
    assert not (answer["firewall_loaded"])
    assert not (answer["nginx_loaded"])
    assert answer["files"] == {"/no/such/file": ""}
    assert len(answer["sysctls_differing"]) == 1


@pytest.mark.parametrize(
    ("connection", "socket", "given", "ports"),
    [
        ("", "", [], [2222]),
        # sudo hides the connection in the environment of a process above.
        ("SSH_CONNECTION=2001:db8::5 50000 2001:db8:113::10 2200\0", "", [], [2200, 2222]),
        ("", "UnitFileState=enabled\n", [], [22, 2222]),
        ("", "UnitFileState=disabled\n", [8022], [2222, 8022]),
    ],
)
def test_ssh_ports(run: Run, host: Host, connection: str, socket: str, given: list[int], ports: list[int]) -> None:
    host.ssh_connection = connection
    host.says("systemctl", SAID["systemctl"] + socket)
    assert run(ssh_ports=given)["ssh_ports"] == ports


def test_without_any_ssh_port_nothing_is_begun(run: Run, host: Host) -> None:
    host.says("sshd", "")
    assert run()["msg"] == (
        "vps_relay_ssh_ports: no SSH port was found on this host, and a firewall without it would lock you out: list "
        "the port you log in at, such as [22]"
    )
    assert run(ssh_ports=[22])["ssh_ports"] == [22]


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("/etc/ufw/ufw.conf", "ENABLED=yes", "ENABLED=no"),
        ("/etc/default/ufw", "IPV6=yes", "IPV6=no"),
        ("/etc/default/ufw", 'INPUT_POLICY="DROP"', 'INPUT_POLICY="ACCEPT"'),
        ("/etc/ufw/user.rules", "443,2222", "443,2222,8080"),
        ("/etc/ufw/user6.rules", "51820", "51821"),
        ("/etc/ufw/user6.rules", "dapp_homelab-fabric", "dapp_homelab-fabric-2"),
    ],
)
def test_a_firewall_that_is_set_up_differently(run: Run, host: Host, path: str, before: str, after: str) -> None:
    assert before in host.files[path]
    host.files[path] = host.files[path].replace(before, after)
    answer = run()
    assert (answer["firewall_set_up"], answer["firewall_loaded"]) == (False, True)


@pytest.mark.parametrize(
    ("program", "before", "after"),
    [("iptables", "-P INPUT DROP", "-P INPUT ACCEPT"), ("ip6tables", "443,2222", "2222")],
)
def test_a_firewall_that_is_not_loaded(run: Run, host: Host, program: str, before: str, after: str) -> None:
    host.says(program, SAID[program].replace(before, after))
    answer = run()
    assert (answer["firewall_set_up"], answer["firewall_loaded"]) == (True, False)


def test_kernel_settings_have_to_hold_now_and_after_a_boot(run: Run, host: Host) -> None:
    wanted = {"net.ipv4.tcp_mtu_probing": 1, "net.ipv4.conf.all.rp_filter": 2}
    assert run(sysctls=wanted)["sysctls_differing"] == ["net.ipv4.conf.all.rp_filter=2"]
    host.files["/proc/sys/net/ipv4/conf/all/rp_filter"] = "2\n"
    assert run(sysctls=wanted)["sysctls_differing"] == []
    host.files["/etc/sysctl.d/60-homelab-fabric.conf"] = ""
    assert run(sysctls=wanted)["sysctls_differing"] == [f"{name}={value}" for name, value in wanted.items()]


def test_nginx_has_loaded_what_is_older_than_its_workers(
    run: Run, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "stream.conf"
    config.write_text("stream {}\n")
    host.says("systemctl", SAID["systemctl"].replace("MainPID=0", "MainPID=485"))
    workers = [(485, time.time() - 100), (485, time.time() + 1), (1, time.time() + 50)]
    monkeypatch.setattr(relay_host, "_processes", lambda program: workers)
    assert run(nginx_config=str(config))["nginx_loaded"]
    # Workers of old that end their connections do not count, nor do other people's.
    del workers[1]
    assert not run(nginx_config=str(config))["nginx_loaded"]


def test_processes_are_found_with_their_parent_and_age() -> None:
    name = Path("/proc/self/comm").read_text(encoding="utf-8").strip()
    assert any(parent == os.getppid() and start < time.time() for parent, start in relay_host._processes(name))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"services": [{"port": 80}], "ingress": "10.30.0.200"}, "vps_relay_services: apache2 listens on port 80 of"),
        ({"services": [{"port": 2222}], "ingress": "10.30.0.200"}, "vps_relay_services: sshd listens on port 2222 of"),
        ({"services": [{"port": 443}]}, "vps_relay_ingress: '' is neither a host name nor an IP address"),
        (
            {"services": [{"port": 443}], "ingress": "traefik.home.arpa"},
            "vps_relay_ingress: 'traefik.home.arpa' is a name",
        ),
        (
            {"services": [{"port": 70000, "upstream": "10.30.0.200"}]},
            "vps_relay_services[0].port: '70000' is not a port",
        ),
        (
            {"services": [{"port": 443, "upstream": "10.30.0.200:99999"}]},
            "vps_relay_services[0].upstream: '99999' is not a port",
        ),
        ({"services": [{"port": 443}, {"port": 443}], "ingress": "10.30.0.200"}, "[1].port: 443 is there twice"),
        ({"open_ports": ["3478"]}, "vps_relay_open_ports[0]: '3478' is not a port: write it like 3478/udp"),
        ({"open_ports": ["0/tcp"]}, "vps_relay_open_ports[0]: '0' is not a port"),
        (
            {"open_ports": [f"{n}/udp" for n in range(100, 116)]},
            "vps_relay_open_ports: more than 15 udp ports are to be",
        ),
        ({"ssh_ports": [0]}, "vps_relay_ssh_ports[0]: '0' is not a port"),
    ],
)
def test_bad_input_is_refused_by_name(run: Run, arguments: dict[str, Any], message: str) -> None:
    answer = run(**arguments)
    assert answer["failed"]
    assert message in answer["msg"]


@pytest.mark.parametrize(
    ("upstream", "parsed"),
    [
        ("10.30.0.200", "10.30.0.200:443"),
        ("10.30.0.200:8443", "10.30.0.200:8443"),
        ("fd00:30::200", "[fd00:30::200]:443"),
        ("[FD00:30::200]", "[fd00:30::200]:443"),
        ("[fd00:30::200]:8443", "[fd00:30::200]:8443"),
    ],
)
def test_upstreams(run: Run, upstream: str, parsed: str) -> None:
    assert run(services=[{"port": 443, "upstream": upstream}])["services"][0]["upstream"] == parsed
    assert run(services=[{"port": 443}], ingress=upstream)["services"][0]["upstream"] == parsed


def test_who_is_not_root_is_told_what_to_set(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert run()["msg"] == "this needs root: log in as root, or set ansible_become: true for this host"
