"""How GL.iNet's firmware marks LAN clients' packets for a tunnel: by iptables with fw3, by nftables with fw4.

The router's own packets are matched by group ids alone, so that its own way to a network behind a tunnel leads to WAN:
who wants it otherwise adds a rule to LOCAL_POLICY, which rtp2.sh deletes and /etc/firewall.user makes again.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from .kernel import IP
from .uci_read import is_on, one
from .uci_store import Section

if TYPE_CHECKING:
    from .gl_rtp2 import Run

STATES = Path("/tmp/wireguard")
LISTS = Path("/etc/domain_mac_list")
NO_VPN = "0x8000"
MASK = "0xf000"
HOOK, POLICY, LOCAL = "VPN_PREROUTING_HOOK", "ROUTE_POLICY", "LOCAL_POLICY"
FIRST_GROUP = 20000
SOURCES = ("br-lan", "wgserver")  # whose packets are marked; the server's clients are treated as the LAN's

#: A source (MAC or device), a prefix, and what happens: a mark, DROP or RETURN.
Line = tuple[str, str, str]


def is_connected(name: str) -> bool:
    path = STATES / f"{name}_state"
    return path.exists() and path.read_text().strip() == "connected"


def sources(rule: Section) -> list[str]:
    """Empty for all clients. A list of MACs counts as a list only; `device` is without effect."""
    kind = one(rule, "from_type")
    macs = rule.options.get("from_mac")
    if kind == "ipset" and one(rule, "from"):
        return macs if isinstance(macs, list) else []
    if kind == "interface":
        return [f"dev {'br-lan' if one(rule, 'from') == 'lan' else one(rule, 'from')}"]
    return [""]


def targets(rule: Section) -> tuple[list[str], bool]:
    """Prefixes, and whether they are meant to be left out; no prefix at all means everything."""
    name = one(rule, "to")
    if not name:
        return [""], False
    path = Path(one(rule, "to_list_external") or LISTS / name.removeprefix("!"))
    words = path.read_text().split() if path.exists() else []
    domains = rule.options.get("to_domain_ip")
    words += domains if isinstance(domains, list) else []
    return [str(ip_network(word, strict=False)) for word in words if _is_v4(word)], name.startswith("!")


def _is_v4(word: str) -> bool:
    try:
        return ip_network(word, strict=False).version == 4
    except ValueError:
        return False


def lines(rule: Section, failover: bool) -> Iterator[Line]:
    """A tunnel's chain: into the tunnel while it is up or must not be left, else around it or nowhere."""
    via, kills = one(rule, "via"), is_on(rule, "killswitch")
    verdicts = [NO_VPN]
    if one(rule, "via_type") != "novpn":
        verdicts = [one(rule, "mark")] if is_connected(via) or kills else []
        verdicts += [NO_VPN] if failover and not kills else []
        verdicts.append("DROP")
    prefixes, left_out = targets(rule)
    for source in sources(rule):
        for prefix in prefixes if left_out else []:
            yield source, prefix, "RETURN"
        for verdict in verdicts:
            for prefix in [""] if left_out else prefixes:
                yield source, prefix, verdict


def chains(run: Run | None) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = {POLICY: []}
    for rule in run.rules if run else []:
        if is_on(rule, "enabled") and one(rule, "via_type") in ("wireguard", "novpn"):
            name = f"TUNNEL{one(rule, 'tunnel_id')}_{POLICY}"
            found[name] = list(lines(rule, bool(run and run.failover)))
            found[POLICY].append(("", "", name))
    if run and run.failover:
        found[POLICY].append(("", "", NO_VPN))
    return found


def apply(run: Run | None) -> None:
    """Replace all chains; None takes them away. Then the tables that the rules look into."""
    found = chains(run)
    instances = sorted({one(rule, "via") for rule in run.tunnels if is_on(rule, "enabled")}) if run else []
    if Path("/sbin/fw4").exists():
        nftables(found if run else {}, instances)
    else:
        iptables(found if run else {}, instances)
    main_without_wan()
    kills = (
        {one(rule, "via") for rule in run.tunnels if is_on(rule, "enabled") and is_on(rule, "killswitch")}
        if run
        else {}
    )
    for number in range(1, 6):
        # Below every route of the tunnel itself: what is left when it is down.
        action = "replace" if f"wgclient{number}" in kills else "del"
        ip("route", action, "blackhole", "default", "metric", "4096", "table", f"100{number}")


def ip(*arguments: str) -> str:
    return subprocess.run([IP, *arguments], capture_output=True, text=True, check=False).stdout


def main_without_wan() -> None:
    """Table 9910: so that packets between the router's own networks never go into a tunnel."""
    ip("route", "flush", "table", "9910")
    outside = {line.split("dev ")[1].split()[0] for line in ip("route", "show", "default").splitlines()}
    for line in ip("route", "show", "table", "main").splitlines():
        words = line.split()
        if words[0] != "default" and words[words.index("dev") + 1] not in outside:
            ip("route", "add", words[0], "dev", words[words.index("dev") + 1], "table", "9910")


def iptables(found: dict[str, list[Line]], instances: list[str]) -> None:
    for hook, chain in (("PREROUTING", HOOK), ("OUTPUT", LOCAL)):
        run_iptables("-D", hook, "-j", chain)
    old = [line.split()[1] for line in run_iptables("-S").splitlines() if line.startswith("-N ")]
    for flag in ("-F", "-X"):
        for chain in old:
            if chain in (HOOK, LOCAL) or chain.endswith(POLICY):
                run_iptables(flag, chain)
    if not found:
        return
    text = ["*mangle", *(f":{name} - [0:0]" for name in (HOOK, LOCAL, *found))]
    text += [
        f"-A PREROUTING -j {HOOK}",
        f"-A OUTPUT -j {LOCAL}",
        *(f"-A {HOOK} -i {source} -j {POLICY}" for source in SOURCES),
    ]
    for chain, several in found.items():
        for source, prefix, verdict in several:
            match = (
                f"-i {source[4:]} " if source.startswith("dev ") else f"-m mac --mac-source {source} " if source else ""
            )
            match += f"-d {prefix} " if prefix else ""
            jump = f"MARK --set-xmark {verdict}/{MASK}" if verdict.startswith("0x") else verdict
            text.append(f"-A {chain} {match}-m mark --mark 0x0/{MASK} -j {jump}")
    for name in instances:
        group = f"-m owner --gid-owner {FIRST_GROUP + int(name[-1])}"
        text.append(f"-A {LOCAL} {group} -j MARK --set-xmark 0x{name[-1]}000/{MASK}")
    text.append("COMMIT\n")
    subprocess.run(["/usr/sbin/iptables-restore", "--noflush"], input="\n".join(text), text=True, check=True)


def run_iptables(*arguments: str) -> str:
    command = ["/usr/sbin/iptables", "-t", "mangle", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def nftables(found: dict[str, list[Line]], instances: list[str]) -> None:
    table = "table inet vpn_table"
    text = f"{table}\ndelete {table}\n"
    if found:
        body: dict[str, list[str]] = {LOCAL: []}
        for chain, several in reversed(found.items()):  # a chain stands before the one that jumps to it
            body[chain] = [_nft(line) for line in several]
        for name in instances:
            body[LOCAL].append(f"meta skgid {FIRST_GROUP + int(name[-1])} {_nft(('', '', f'0x{name[-1]}000'))}")
        body[HOOK] = [
            "type filter hook prerouting priority mangle;",
            *(f'iifname "{source}" jump {POLICY}' for source in SOURCES),
        ]
        body["VPN_OUTPUT_HOOK"] = ["type route hook output priority mangle;", f"jump {LOCAL}"]
        rules = "".join(
            f"chain {name} {{\n" + "".join(f"{r}\n" for r in several) + "}\n" for name, several in body.items()
        )
        text += f"{table} {{\n{rules}}}\n"
    subprocess.run(["/usr/sbin/nft", "-f", "-"], input=text, text=True, check=True)


def _nft(line: Line) -> str:
    source, prefix, verdict = line
    match = f'iifname "{source[4:]}" ' if source.startswith("dev ") else f"ether saddr {source} " if source else ""
    match += f"ip daddr {prefix} " if prefix else ""
    act = f"meta mark set meta mark & 0xffff0fff | {verdict}" if verdict.startswith("0x") else f"jump {verdict}"
    act = verdict.lower() if verdict in ("DROP", "RETURN") else act
    return f"{match}meta mark & {MASK} == 0 {act}"
