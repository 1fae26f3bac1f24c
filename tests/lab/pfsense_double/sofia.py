"""The hub of reference network B as its owner set it up: three LANs, and IPv6 by an interface of its own, opt3."""

from __future__ import annotations

INTERFACE = (
    "\t\t<{key}>\n\t\t\t<enable></enable>\n\t\t\t<if>{card}</if>\n"
    "\t\t\t<descr><![CDATA[{name}]]></descr>\n{addresses}\n\t\t</{key}>\n"
)
V4 = "\t\t\t<ipaddr>{}</ipaddr>\n\t\t\t<subnet>24</subnet>"
V6 = "\t\t\t<ipaddrv6>{}</ipaddrv6>\n\t\t\t<subnetv6>64</subnetv6>\n\t\t\t<gatewayv6>WANGW6</gatewayv6>"
GATEWAY = "<interface>{}</interface>\n\t\t\t<gateway>{}<"


def configuration(factory: str) -> str:
    """Her config.xml, made of the one of the other pfSense."""
    changes = {
        "<hostname>pfsense<": "<hostname>sofia<",
        "203.0.113.90": "203.0.113.91",
        V6.format("2001:db8:113::90") + "\n": "",
        "<ipaddr>192.168.8.1<": "<ipaddr>10.0.10.1<",
        "<ipaddr>192.168.20.1<": "<ipaddr>10.0.20.1<",
        "\t</interfaces>": INTERFACE.format(key="opt2", card="vtnet3", name="OLD", addresses=V4.format("192.168.1.1"))
        + INTERFACE.format(key="opt3", card="vtnet4", name="HENET", addresses=V6.format("2001:db8:91::91"))
        + "\t</interfaces>",
        GATEWAY.format("wan", "2001:db8:113::1"): GATEWAY.format("opt3", "2001:db8:91::1"),
    }
    for before, after in changes.items():
        if before not in factory:
            raise ValueError(f"factory.xml has changed, it lacks: {before}")
        factory = factory.replace(before, after)
    return factory
