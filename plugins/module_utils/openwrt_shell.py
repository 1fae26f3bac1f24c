# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two scripts that a router with OpenWrt runs: one reads all of its state, one applies everything.

They are fed to `/bin/sh` by standard input, so that no key stands in an argument, and hold to what OpenWrt's own
busybox has. A private key never gets out of the router: `wg pubkey` there tells its public half.
"""

from __future__ import annotations

import re
import secrets
import shlex
from typing import Callable, Mapping, NamedTuple, Sequence

from ansible_collections.homelab.fabric.plugins.module_utils.converge import Command, DeviceError, OvertakenError
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_live import Step
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_uci import Line, staged
from ansible_collections.homelab.fabric.plugins.module_utils.wg import redact

FOLDER = "/var/run/homelab.fabric"  # on the router, in memory: gone with the live state that it tells of
PROBE = "fabric_probe"  # a WireGuard interface that lives for the moment in which it tries a configuration
UP_TIMEOUT = 20  # seconds to wait for an interface to come up, or to go
PACKAGES = ("network", "firewall")  # that the module writes


class Answer(NamedTuple):
    """How the shell on the router ended."""

    status: int
    out: str
    err: str


Execute = Callable[[str], Answer]
"""Runs a script in `/bin/sh` on the router, as root."""


class Plan(NamedTuple):
    """Everything that one apply script does.

    `sums`: of the files that were read, which must not have changed. `touch`: a file of uci's that is not there yet.
    `key`: the option that gets a new private key, if any, and `public` the one for its public half. `peers`: what
    `wg setconf` must be able to take before anything is committed. `close`: a file with keys that others may read until
    now. `files`: commands that write what is not uci's, right before the commit, and `undo` takes it back where the
    firewall refuses it. `watch`: commands about cron. `wait`: a word of _WAIT, or nothing. `after`: what needs the
    interface to be up.
    """

    name: str
    sums: str
    lines: Sequence[Line]
    key: str
    packages: Sequence[str]
    peers: str
    close: str
    notes: Sequence[str]
    steps: Sequence[Step]
    wait: str
    reload_firewall: bool
    watch: Sequence[str] = ()
    files: Sequence[Line] = ()
    undo: str = ":"
    touch: str = ""
    public: str = ""
    after: Sequence[Step] = ()


def commands(plan: Plan, send: Callable[[], object]) -> list[Command]:
    """Every step as one would type it, without its secrets. `send` runs them all, when the last has its turn."""
    texts = [f"touch {plan.touch}"] if plan.touch else []
    texts += [f"uci {line.shown}" for line in plan.lines]
    if plan.key:
        texts.append(f"uci set {plan.key}=  # of `wg genkey`; it stays on the router")
    texts += [f"uci set {plan.public}=  # of `wg pubkey`"] if plan.public else []
    texts += [f"chmod 600 {plan.close}"] if plan.close else []
    texts += [line.shown for line in plan.files]
    texts += [f"uci commit {package}" for package in plan.packages]
    texts += [*(step.text for step in plan.steps), *plan.watch]
    texts += ["/etc/init.d/firewall reload"] if plan.reload_firewall else []
    texts += [step.text for step in plan.after]
    return [Command(text, _with_the_last) for text in texts[:-1]] + [Command(text, send) for text in texts[-1:]]


def _with_the_last() -> None:
    pass


def refuse_pending(parts: Mapping[str, str], packages: Sequence[str]) -> None:
    """Raises DeviceError for changes that somebody made with `uci` and did not commit."""
    if parts["changes"]:
        options = ", ".join(line.lstrip("-+|~@^") for line in parts["changes"].splitlines()[:5])
        raise DeviceError(
            f"this router has changes that nobody committed ({options}), which would go along: `uci commit` or "
            f"`uci revert` the packages {' and '.join(packages)}"
        )


# The whole is one group, so that a script of which only a part arrives does nothing. PIPE and HUP: the connection may
# break, for it may go through the tunnel itself. `echo` is the shell's own, so what it gets is in no list of processes.
_FRAME = """{{
export LC_ALL=C
umask 077
n={name}
d={folder}
part() {{ echo; echo "@@{nonce} $1"; }}
changes() {{ for f in /tmp/.uci/*; do [ ! -s $f ] || uci changes ${{f##*/}}; done 2>/dev/null; }}
option() {{ echo "${{net:=$(uci -q -X show network)}}" | sed -n "s/^network[.]$n[.]$1='\\(.*\\)'$/\\1/p"; }}
{body}
part end
exit 0
}} </dev/null
"""

# Of the sections of others only what is needed: they hold passwords. A value may go over several lines.
_SECTIONS = """
part missing
for tool in uci ubus wg ip awk md5sum; do command -v $tool >/dev/null || echo $tool; done
part sums
md5sum /etc/config/network /etc/config/firewall 2>/dev/null
part mode
ls -l /etc/config/network | cut -c 5-10
part changes
changes | awk -F= '/^[-+|~@^]?(network|firewall)\\./ { print $1 }'
part network
net=$(uci -q -X show network)
echo "$net" | awk -v n=$n '
/^network\\./ { show = 0; key = $0; sub(/=.*/, "", key); split(key, name, ".") }
/^network\\./ && name[3] == "" { own = $0 ~ "=wireguard_" n "$" || name[2] == n; show = 1 }
/^network\\./ && name[3] != "" && own { show = 1 }
/^network\\./ && name[3] ~ /^(proto|device|ifname|interface|target|netmask|description|endpoint_host)$/ { show = 1 }
/^network\\./ && name[3] == "private_key" { if (own) print key "=hidden"; show = 0 }
show { print }'
part firewall
[ ! -e /etc/config/firewall ] || { echo there; uci -q -X show firewall; }
part key
key=$(option private_key)
case $key in '' | generate) ;; *) echo "$key" | wg pubkey 2>/dev/null || echo bad ;; esac
key=
part handlers
ubus -S call network get_proto_handlers 2>/dev/null
part networks
ip addr show
part loaded
{ nft -t list ruleset || iptables -S; } 2>/dev/null | grep -qE "\\"$n\\"|-[io] $n( |\\$)" && echo loaded
"""

LIVE = """
part status
ubus -S call network.interface.$n status 2>/dev/null
part wg
wg show $n dump 2>/dev/null | awk 'BEGIN { FS = OFS = "\\t" } NR == 1 { $1 = "hidden" } { print }'
part now
date +%s
part link
ip addr show dev $n 2>/dev/null
part own
for v in 4 6; do
    echo $v
    t=$(option ip${v}table)
    ip -$v route show dev $n ${t:+table $t} 2>/dev/null
done
part routes
for v in 4 6; do echo $v; ip -$v route show 2>/dev/null; done
part watch
[ ! -x /usr/bin/wireguard_watchdog ] || echo here
pidof crond >/dev/null && /etc/init.d/cron enabled && echo running
grep -s wireguard_watchdog /etc/crontabs/root
part notes
cat $d/$n.notes 2>/dev/null
part client
echo "$SSH_CONNECTION"
"""

_READ = _SECTIONS + LIVE

_APPLY = """
limit={limit}
trap '' HUP PIPE
fail() {{
    part failed
    echo "$1"
    tail -n 20 $d/$n.err
    rm -rf $d/stage $d/lock
    exit 1
}}
mkdir -p $d
: >$d/$n.err
if ! mkdir $d/lock 2>/dev/null; then
    kill -0 "$(cat $d/lock/pid 2>/dev/null)" 2>/dev/null && {{ part failed; echo lock; exit 1; }}
    rm -rf $d/lock
    mkdir $d/lock 2>/dev/null || {{ part failed; echo lock; exit 1; }}
fi
echo $$ >$d/lock/pid
[ "$(md5sum {files} 2>/dev/null)" = {sums} ] || fail {meanwhile}
changes | grep -qE '^[-+|~@^]?({packages})[.]' && fail {meanwhile}
rm -rf $d/stage
mkdir $d/stage
{body}
rm -rf $d/$n.notes $d/stage $d/lock $d/$n.err
"""


def ask(execute: Execute, name: str, read: str = _READ) -> dict[str, str]:
    """The read script's parts by name."""
    return _run(execute, name, read)


def apply(
    execute: Execute,
    plan: Plan,
    read: str = _READ,
    packages: Sequence[str] = PACKAGES,
    reasons: Mapping[str, str] | None = None,
    limit: int = UP_TIMEOUT,
) -> dict[str, str]:
    """Run the apply script. The parts that it answers are those of the read script, as things are afterwards.

    `packages`: those of `plan.sums`, which nobody else may be changing. `reasons`: messages for failures of another
    kind of router. `limit`: seconds to wait.
    """
    files = " ".join(f"/etc/config/{package}" for package in packages)
    body = _APPLY.format(
        limit=limit,
        meanwhile=_MEANWHILE,
        sums=shlex.quote(plan.sums),
        files=files,
        packages="|".join(packages),
        body="\n".join(_body(plan)),
    )
    parts = _run(execute, plan.name, body + read)
    if "failed" in parts:
        error = OvertakenError if parts["failed"].startswith(_MEANWHILE) else DeviceError
        raise error(_explain(parts["failed"], plan.name, {**_REASONS, **(reasons or {})}, limit))
    return parts


def _run(execute: Execute, name: str, body: str) -> dict[str, str]:
    nonce = secrets.token_hex(8)
    answer = execute(_FRAME.format(name=name, folder=FOLDER, nonce=nonce, body=body))
    pieces = answer.out.replace("\r\n", "\n").split(f"\n@@{nonce} ")
    parts = {}
    for piece in pieces[1:]:
        title, _newline, text = piece.partition("\n")
        parts[title] = text.rstrip("\n")
    if "failed" not in parts and "end" not in parts:
        said = redact(answer.err.strip() or pieces[0].strip())[-500:] or "nothing"
        raise DeviceError(
            f"the router did not run the script to its end (exit status {answer.status}), it said: {said}. "
            "Is this OpenWrt, and the user root? The next run goes on from here"
        )
    return parts


def _body(plan: Plan) -> list[str]:
    """The steps in an order that may break off anywhere: the next run sees what is left to do, or reads it in notes."""
    text = [f"[ -e {plan.touch} ] || : >{plan.touch} || fail uci"] if plan.touch else []
    batch, imported = staged(plan.lines)
    if batch:
        text.append(_batch(batch))
    for package, sections in imported.items():
        # Without a file, uci would commit what it merges.
        text.append(f"[ -e /etc/config/{package} ] || fail uci")
        text.append(fed(f"uci -t $d/stage -m import {package} 2>$d/$n.err", "fail uci", sections.rstrip("\n")))
    if plan.key:
        key = "key=$(wg genkey 2>$d/$n.err) || fail genkey"
        text += [key, _batch(f"set {plan.key}='$key'", literal=False)]
        if plan.public:
            text += ['pub=$(echo "$key" | wg pubkey)', _batch(f"set {plan.public}='$pub'", literal=False)]
        text.append("key=")
    if plan.peers:
        conf = f"WG_ENDPOINT_RESOLUTION_RETRIES=1 wg setconf {PROBE} /dev/stdin 2>$d/$n.err"
        text += [
            f"ip link del dev {PROBE} 2>/dev/null",
            f"ip link add dev {PROBE} type wireguard 2>$d/$n.err || fail probe",
            fed(conf, f"{{ ip link del dev {PROBE}; fail peers; }}", plan.peers),
            f"ip link del dev {PROBE}",
        ]
    text.append(fed("cat >$d/$n.new", "fail notes", "\n".join(plan.notes)))
    text.append("mv $d/$n.new $d/$n.notes || fail notes")
    if "firewall" in plan.packages:
        text.append("cp -p /etc/config/firewall $d/stage/firewall.before 2>$d/$n.err || fail notes")
    text += [f"chmod 600 {plan.close}"] if plan.close else []
    text += [line.text for line in plan.files]
    text += [f"uci -t $d/stage commit {package} 2>$d/$n.err || fail commit" for package in plan.packages]
    text += map(_step, plan.steps)
    text += [f"{{ {command}; }} >$d/$n.err 2>&1 || fail cron" for command in plan.watch]
    text += [_WAIT[plan.wait]] if plan.wait else []
    text += [_FIREWALL.replace("UNDO", plan.undo)] if plan.reload_firewall else []
    text += [_CAME_UP] if plan.wait == "up" else []
    return [*text, *map(_step, plan.after)]


def _step(step: Step) -> str:
    command, failed = f"{shlex.join(step.command)} >$d/$n.err 2>&1", f"fail {shlex.quote(step.text)}"
    return fed(command, failed, step.stdin) if step.stdin else f"{command} || {failed}"


def _batch(lines: str, literal: bool = True) -> str:
    """`uci batch` always ends with 0: what it says tells whether it worked."""
    return fed("uci -t $d/stage batch >$d/$n.err 2>&1", "fail uci", lines, literal) + "\n[ ! -s $d/$n.err ] || fail uci"


def fed(command: str, failed: str, text: str, literal: bool = True) -> str:
    """A command with a text as its standard input, and what to do when it fails."""
    return f"{command} <<{repr(_END) if literal else _END} || {failed}\n{text}\n{_END}"


_END = "END_OF_INPUT"  # no line of ours reads like it

_WAIT = {
    # It mostly takes less than a second, and not every busybox sleeps for less.
    "up": """i=-20
until ubus -S call network.interface.$n status 2>/dev/null | grep -q '"up":true'; do
    i=$((i + 1))
    [ $i -lt $limit ] || break
    [ $i -lt 0 ] || sleep 1
done""",
    # Up means that the peer has answered there, which nobody can promise.
    "answer": """i=-20
uci -q get network.$n.config >/dev/null || fail instance
until ubus -S call network.interface.$n status 2>/dev/null | grep -q '"up":true'; do
    i=$((i + 1))
    [ $i -lt $limit ] || break
    [ $i -lt 0 ] || sleep 1
done""",
    "gone": """i=0
while [ -e /sys/class/net/$n ]; do
    i=$((i + 1))
    [ $i -lt $limit ] || fail gone
    sleep 1
done""",
}

_CAME_UP = """[ $i -lt $limit ] || {
    logread 2>/dev/null | grep -w $n | tail -n 3 >$d/$n.err
    fail up
}"""

# A firewall that cannot be loaded would be none at the next start, so it is put back.
_FIREWALL = """if [ -x /sbin/fw4 ] && ! fw4 check >$d/$n.err 2>&1; then
    [ ! -e $d/stage/firewall.before ] || {
        cp -p $d/stage/firewall.before /etc/config/.firewall && mv /etc/config/.firewall /etc/config/firewall
    }
    UNDO
    fail fw4
fi
/etc/init.d/firewall reload >$d/$n.err 2>&1 || fail firewall"""


_MEANWHILE = "meanwhile"
_REASONS = {
    "lock": "Another run is at work on this router. Run the playbook again when it is done",
    _MEANWHILE: "Somebody changed /etc/config/network or /etc/config/firewall during this run. Run the playbook again",
    "uci": "`uci` did not take the configuration; nothing was committed. It said: {said}",
    "genkey": "`wg genkey` made no key; nothing was committed. It said: {said}",
    "probe": "the router cannot make a WireGuard interface; nothing was committed. It said: {said}. Install "
    "kmod-wireguard",
    "peers": "WireGuard refuses these peers, and {name} would not come up with them; nothing was committed. It said: "
    "{said}. If an endpoint is a name, it must resolve on the router",
    "notes": "{folder} cannot be written; nothing was committed. It said: {said}",
    "commit": "`uci commit` did not work. It said: {said}. Is the router's flash full?",
    "up": "{name} is configured, but does not come up within {seconds} s. The router says: {said}. "
    "`logread | grep netifd` there tells more",
    "cron": "cron could not be told to look up endpoints again. It said: {said}. The next run goes on from here",
    "gone": "{name} is not configured any more, but did not go within {seconds} s. Restart the router's network",
    "fw4": "`fw4 check` refuses the firewall, so the firewall's configuration was put back. It said: {said}",
    "firewall": "`/etc/init.d/firewall reload` did not work. It said: {said}",
}


def _explain(text: str, name: str, reasons: Mapping[str, str], limit: int) -> str:
    reason, _newline, said = text.partition("\n")
    said = re.sub(r"\s*\n\s*", "; ", redact(said).strip()) or "nothing"
    known = reasons.get(reason, f"`{reason}` did not work. It said: {{said}}. The next run goes on from here")
    return known.format(name=name, said=said, folder=FOLDER, seconds=limit)
