# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What GL.iNet's firmware leaves to its owner: the list of prefixes of a rule, and the router's own packets. Pure.

The firmware marks LAN clients' packets for a tunnel, never the router's own to the same prefixes, its answers through
the tunnel included. With fw3 (iptables) a rule in LOCAL_POLICY marks them, which rtp2.sh deletes and
/etc/firewall.user makes again; with fw4 (nftables) a chain of our own. What is so marked has the address of WAN still,
so it is given the tunnel's.
"""

from __future__ import annotations

import shlex
from typing import Iterable, NamedTuple, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils.glinet_shell import LISTS, TABLE_FOLDER, USER_FILE
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_shell import fed
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_uci import Line
from ansible_collections.homelab.fabric.plugins.module_utils.tunnel import MARKER

MASK = "0xf000"


class Own(NamedTuple):
    """How the router's own packets get into the tunnel: a file's text, and what shows that it has been loaded."""

    text: str
    loaded: list[str]


def mark(name: str) -> str:
    """The firmware's mark for packets into a client interface."""
    return f"0x{name[-1]}000"


def own_packets(name: str, prefixes: Iterable[str], newer_firewall: bool) -> Own:
    """For these prefixes, IPv4 alone; none: no file. A default route is left out, for DNS has to work without it."""
    targets = [prefix for prefix in prefixes if ":" not in prefix and not prefix.endswith("/0")]
    if not targets:
        return Own("", [])
    return _nft(name, targets) if newer_firewall else _iptables(name, targets)


def _iptables(name: str, targets: Sequence[str]) -> Own:
    loaded = [
        f"-A LOCAL_POLICY -d {t} -m mark --mark 0x0/{MASK} -j MARK --set-xmark {mark(name)}/{MASK}" for t in targets
    ]
    rules = [f"-t mangle {rule}" for rule in loaded] + [f"-t nat {_source(name)}"]
    lines = [
        f"iptables {rule.replace(' -A ', ' -C ')} 2>/dev/null || iptables {rule} 2>/dev/null # {MARKER}{name}"
        for rule in rules
    ]
    return Own("\n".join(lines), loaded)


def _source(name: str) -> str:
    # Forwarded packets have no socket.
    return f"-A POSTROUTING -o {name} -m owner --socket-exists -j MASQUERADE"


def _nft(name: str, targets: Sequence[str]) -> Own:
    # A rule each: within one set, prefixes must not overlap.
    act = f"meta mark & {MASK} == 0 meta mark set meta mark & 0xffff0fff | {mark(name)}"
    rules = "".join(f"    ip daddr {target} {act}\n" for target in targets)
    text = f"""# {MARKER}{name}: the router's own packets into the tunnel
chain fabric_{name} {{
    type route hook output priority mangle; policy accept;
{rules}}}
chain fabric_{name}_source {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "{name}" fib saddr type local masquerade
}}"""
    shown = [target[: -len("/32")] if target.endswith("/32") else target for target in targets]
    return Own(text, [f"ip daddr {target} meta mark" for target in shown])


def table_file(name: str) -> str:
    return f"{TABLE_FOLDER}/90-fabric-{name}.nft"


def write_own(name: str, own: Own, newer_firewall: bool) -> Line:
    """The command that writes it, or takes it away."""
    if newer_firewall:
        path = table_file(name)
        if not own.text:
            return Line(f"rm -f {path}", f"rm {path}")
        return write(path, own.text, f"the router's own packets into {name}")
    path = USER_FILE
    shown = f"write {path}  # the router's own packets into {name}"
    keep = f"{{ grep -sv {shlex.quote(f'# {MARKER}{name}$')} {path}; cat; }} >/etc/.fabric.new 2>$d/$n.err"
    if own.text:
        return Line(f"{fed(keep, 'fail files', own.text)}\nmv /etc/.fabric.new {path} || fail files", shown)
    gone = f"iptables -t nat {_source(name).replace('-A', '-D', 1)} 2>/dev/null"
    return Line(f"{gone}\n{keep} </dev/null || fail files\nmv /etc/.fabric.new {path} || fail files", shown)


def write_list(name: str, prefixes: Sequence[str]) -> Line:
    """The command for a rule's list of prefixes."""
    return write(f"{LISTS}/{name}", "\n".join(prefixes), ", ".join(prefixes))


def remove_list(name: str) -> Line:
    return Line(f"rm -f {LISTS}/{name}", f"rm {LISTS}/{name}")


def write(path: str, text: str, about: str) -> Line:
    """The command that writes a file all at once: killed half-way, the old text stands.

    Who else reads the folder passes names with a dot over.
    """
    folder, _slash, name = path.rpartition("/")
    new = f"{folder}/.{name}.new"
    command = fed(f"mkdir -p {folder} && cat >{new} 2>$d/$n.err", "fail files", text)
    return Line(f"{command}\nmv {new} {path} || fail files", f"write {path}  # {about}")
