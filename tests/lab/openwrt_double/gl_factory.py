"""A Flint 2 that its owner just set up: the spoke `london` of reference network B, without a peer yet.

eth0 is the Internet, the bridge br-lan with lan1 the LAN. Its owner lets ssh in from the Internet.
"""

from __future__ import annotations

from . import factory

USER_RULES = """
config include
\toption path '/etc/firewall.user'
"""
WIREGUARD = """
config proxy 'global'
\toption global_proxy '1'

config groups 'group_1957'
\toption group_id '1957'
\toption group_name 'FromApp'
\toption group_type '1'
\toption auth_type '2'
"""
ROUTE_POLICY = """
config default 'default'
\toption enabled '1'

config rule_process 'gl_process'
\toption enabled '1'

config rule_process 'gl_process_vpn'
\toption enabled '1'

config global 'global'
\toption enabled '0'
\toption instance_on '0'
\toption service_policy_en '0'
"""


def defaults(release: str) -> dict[str, str]:
    """/etc/config of a blank router by name. `release`: gl-4.7, gl-4.8 or gl-4.8-op24."""
    network = factory.NETWORK.replace("192.168.0.1/24", "192.168.8.1/24").replace("198.51.100.50", "198.51.100.60")
    found = {
        "network": network.replace("2001:db8:51::50", "2001:db8:51::60"),
        "firewall": factory.FIREWALL + USER_RULES,
        "wireguard": WIREGUARD,
        "glipv6": "\nconfig globals 'globals'\n\toption enabled '0'\n",
        "dhcp": "\nconfig dnsmasq\n",
    }
    if release == "gl-4.7":
        return found | {"vpnpolicy": "\nconfig global 'global'\n\toption kill_switch '0'\n\toption wan_access '0'\n"}
    found["wireguard_server"] = ""
    newer = "\toption use_fw4 '1'\n" if release.endswith("op24") else ""
    return found | {"route_policy": ROUTE_POLICY + newer}
