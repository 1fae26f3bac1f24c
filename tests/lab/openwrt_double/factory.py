"""A router that its owner just set up: the spoke `valchedrym` of reference network B, without a tunnel yet.

eth0 is the Internet, the bridge br-lan with lan1 the LAN. The owner lets ssh in from the Internet.
"""

from __future__ import annotations

NETWORK = """
config interface 'loopback'
\toption device 'lo'
\toption proto 'static'
\tlist ipaddr '127.0.0.1/8'

config device
\toption name 'br-lan'
\toption type 'bridge'
\tlist ports 'lan1'

config interface 'lan'
\toption device 'br-lan'
\toption proto 'static'
\tlist ipaddr '192.168.0.1/24'

config interface 'wan'
\toption device 'eth0'
\toption proto 'static'
\tlist ipaddr '198.51.100.50/24'
\toption gateway '198.51.100.1'
\tlist ip6addr '2001:db8:51::50/64'
\toption ip6gw '2001:db8:51::1'
\tlist dns '203.0.113.53'

"""
FIREWALL = """
config defaults
\toption input 'REJECT'
\toption output 'ACCEPT'
\toption forward 'REJECT'

config zone
\toption name 'lan'
\tlist network 'lan'
\toption input 'ACCEPT'
\toption output 'ACCEPT'
\toption forward 'ACCEPT'

config zone
\toption name 'wan'
\tlist network 'wan'
\toption input 'REJECT'
\toption output 'ACCEPT'
\toption forward 'REJECT'
\toption masq '1'
\toption mtu_fix '1'

config rule
\toption name 'Allow-Ping'
\toption src 'wan'
\toption proto 'icmp'
\toption icmp_type 'echo-request'
\toption family 'ipv4'
\toption target 'ACCEPT'

config rule
\toption name 'Allow-ICMPv6-Input'
\toption src 'wan'
\toption proto 'icmp'
\toption family 'ipv6'
\toption target 'ACCEPT'

config rule
\toption name 'Allow-SSH'
\toption src 'wan'
\toption proto 'tcp'
\toption dest_port '22'
\toption target 'ACCEPT'

config forwarding
\toption src 'lan'
\toption dest 'wan'

"""
DEFAULTS = {"network": NETWORK, "firewall": FIREWALL}
