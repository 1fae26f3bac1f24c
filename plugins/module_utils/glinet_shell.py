# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a router of GL.iNet is asked in one script, and the messages for its own failures. See openwrt_shell.py.

Firmware 4.8 and later has `route_policy` and `rtp2.sh`, which writes most of network and firewall itself; up to 4.7
there is one client interface and `vpnpolicy`.
"""

from __future__ import annotations

from ansible_collections.homelab.fabric.plugins.module_utils.glinet_redial import READ as REDIAL
from ansible_collections.homelab.fabric.plugins.module_utils.openwrt_shell import LIVE

PACKAGES = ("network", "firewall", "wireguard", "route_policy", "vpnpolicy", "dhcp")
WIREGUARD_FILE = "/etc/config/wireguard"
USER_FILE = "/etc/firewall.user"  # run by fw3 at each start and reload
TABLE_FOLDER = "/etc/nftables.d"  # read by fw4 inside of its table
LISTS = "/etc/domain_mac_list"  # of prefixes, which rules of route_policy name
BAD_RESOLVER = "1.1.1.1"

# The firmware's scripts run `uci set` for each option, so what is pending may be theirs, and committed in a moment.
_KIND = """
pending() {
    name='[]@A-Za-z0-9_[-]+([.][A-Za-z0-9_]+)?'
    changes | grep -oE "^[-+|~@^]?${some:-(EITHER)}[.]$name(=|$)" | tr -d =
}
changes=$(pending)
i=0
while [ "$changes" ] && [ $i -lt 3 ]; do
    sleep 1
    i=$((i + 1))
    changes=$(pending)
done
part changes
echo "$changes"
part missing
for tool in uci ubus wg ip awk md5sum; do command -v $tool >/dev/null || echo $tool; done
part kind
[ ! -e /lib/netifd/proto/HANDLER.sh ] || echo glinet
[ ! -x /usr/bin/rtp2.sh ] || echo route_policy
[ ! -x /sbin/fw4 ] || echo fw4
[ "$(uci -q get glipv6.globals.enabled)" != 1 ] || echo ipv6
part sums
for p in PACKAGES; do echo /etc/config/$p; done | xargs md5sum 2>/dev/null
part mode
ls -l KEYS_FILE 2>/dev/null | cut -c 5-10
"""
_SECTIONS = """
part network
net=$(uci -q -X show network)
echo "$net" | awk -v n=$n '
/^network\\./ { show = 0; key = $0; sub(/=.*/, "", key); split(key, name, ".") }
/^network\\./ && (name[3] == "" || name[2] == n) { show = 1 }
/^network\\./ && name[3] ~ /^(proto|device|ifname|interface|target|netmask|config|disabled)$/ { show = 1 }
show { print }'
part firewall
[ ! -e /etc/config/firewall ] || { echo there; uci -q -X show firewall; }
"""

# rtp2.sh commits what others have pending, on fw4 in every package. Of peers only what is needed is shown: groups hold
# passwords of providers, and a private key never leaves the router.
READ = (
    "[ ! -x /sbin/fw4 ] || some='[A-Za-z0-9_-]+'"
    + _KIND
    + _SECTIONS
    + """
part wireguard
clients=$(uci -q -X show wireguard)
client() { echo "$clients" | sed -n "s/^wireguard[.]$1='\\(.*\\)'$/\\1/p"; }
own=$(option config)
made=$(echo "$clients" | sed -n "s/^wireguard[.]\\([A-Za-z0-9_]*\\)[.]description='homelab.fabric: $n'$/\\1/p")
echo "$clients" | awk -v own=" $(echo $own $made) " '
/^wireguard\\./ { show = 0; key = $0; sub(/=.*/, "", key); split(key, name, ".") }
/^wireguard\\./ && (name[3] == "" || name[3] ~ /^(group_|peer_|address_|end_point|presharedkey_)/) { show = 1 }
/^wireguard\\./ && name[3] ~ /^(name|description|public_key|allowed_ips|mtu|persistent_keepalive)$/ { show = 1 }
/^wireguard\\./ && name[3] ~ /^(listen_port|dns|route_allowed_ips|nohostroute|fwmark|type)$/ { show = 1 }
/^wireguard\\./ && name[3] == "preshared_key" && index(own, " " name[2] " ") { show = 1 }
show { print }'
part policy
uci -q -X show route_policy
uci -q -X show vpnpolicy
part lists
for f in LISTS/dst_net*; do [ ! -f "$f" ] || { echo "# ${f##*/}"; head -n 1000 "$f"; }; done
part key
peer=$made
echo "$clients" | grep -q "^wireguard[.]$own=" && peer=$own
key=$(client $peer.private_key)
[ "$key" ] || key=$(client group_$(client $peer.group_id).private_key)
[ ! "$key" ] || echo "$key" | wg pubkey 2>/dev/null || echo bad
key=
clients=
part written
grep -s "# homelab.fabric: $n\\$" USER_FILE
cat TABLE_FOLDER/90-fabric-$n.nft 2>/dev/null
part marked
iptables -t mangle -S LOCAL_POLICY 2>/dev/null
nft list chain inet fw4 fabric_$n 2>/dev/null
part advice
adguard=/etc/AdGuardHome/config.yaml
cd /etc/config
grep -lsw 'BAD_RESOLVER' glconfig network dhcp wireguard gl-dns gl-dns-v2 $adguard | while read p; do
    [ $p != $adguard ] || { echo $p; continue; }
    uci -q show $p |
        awk -F= '/[.](track_ip|dns|server|[a-z_]*dns[a-z_0-9]*)=/ && /[^0-9.]BAD_RESOLVER[^0-9.]/ { print $1 }'
done
"""
    + REDIAL
    + LIVE
)

# What the server is made of. Nothing here has rtp2.sh run, so others' pending changes matter in these packages alone.
SERVER_PACKAGES = ("network", "firewall", "wireguard_server")
SERVER_FILE = "/etc/config/wireguard_server"
READ_SERVER = (
    _KIND
    + _SECTIONS
    + """
part server
uci -q -X show wireguard_server | awk '
/^wireguard_server\\./ { show = 0; key = $0; sub(/=.*/, "", key); split(key, name, ".") }
/^wireguard_server\\./ && (name[3] == "" || name[3] ~ /^(name|description|peer_id|address_|public_key)/) { show = 1 }
/^wireguard_server\\./ && name[3] ~ /^(port|mtu|access|masq|client_to_client|type|presharedkey|client_ip)/ { show = 1 }
/^wireguard_server\\./ && name[3] ~ /^(enabled|deprecated|persistent_keepalive)$/ { show = 1 }
/^wireguard_server\\./ && name[3] ~ /^(route_flag|dest|mask|gateway|scope|metric)$/ { show = 1 }
/^wireguard_server\\./ && name[3] == "private_key" { print key "=hidden"; show = 0 }
show { print }'
part policy
uci -q get route_policy.global.enabled
part key
c=$(option config)
key=$(uci -q get wireguard_server.${c:-main_server}.private_key)
[ ! "$key" ] || echo "$key" | wg pubkey 2>/dev/null || echo bad
key=
part direct
for v in 4 6; do echo $v; ip -$v route show dev $n table DIRECT 2>/dev/null; done
"""
    + LIVE
)
DIRECT_TABLE = "9910"  # a copy of the main table without WAN, which the firmware makes and looks into first


def _fill(text: str, packages: tuple[str, ...], handler: str, keys_file: str) -> str:
    for word, value in (
        ("PACKAGES", " ".join(packages)),
        ("EITHER", "|".join(packages)),
        ("HANDLER", handler),
        ("KEYS_FILE", keys_file),
        ("USER_FILE", USER_FILE),
        ("TABLE_FOLDER", TABLE_FOLDER),
        ("LISTS", LISTS),
        ("BAD_RESOLVER", BAD_RESOLVER.replace(".", "[.]")),
        ("DIRECT", DIRECT_TABLE),
    ):
        text = text.replace(word, value)
    return text


READ = _fill(READ, PACKAGES, "wgclient", WIREGUARD_FILE)
READ_SERVER = _fill(READ_SERVER, SERVER_PACKAGES, "wgserver", SERVER_FILE)

REASONS = {
    "meanwhile": "Somebody changed this router's configuration during this run, the web interface perhaps. Run the "
    "playbook again",
    "up": "{name} is configured, but does not come up within {seconds} s. The router says: {said}. "
    "`logread | grep {name}` there tells more",
    "instance": "the firmware made no {name} of its rule. Has the router just started? Run the playbook again in a "
    "minute; `logread | grep rtp2` there tells more",
    "gone": "{name} is not configured any more, but did not go within {seconds} s. Run the playbook again in a minute",
    "files": "a file below /etc cannot be written; nothing was committed. It said: {said}. Is the router's flash full?",
}
