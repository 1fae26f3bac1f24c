"""What a login at the router finds: its applets, no Python, ubus with its exit statuses, jsonfilter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from openwrt_double import jsonfilter
from openwrt_double.rootfs import RELEASES
from openwrt_double.router import Router, unavailable

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=unavailable())

STATUS = "network.interface.lan"


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    with Router(tmp_path_factory.mktemp("router")) as running:
        yield running


@pytest.mark.parametrize(
    "program", ["python3", "python", "bash", "perl", "timeout", "stat", "base64", "setsid", "nohup", "od", "realpath"]
)
def test_what_openwrt_lacks_is_not_there(router: Router, program: str) -> None:
    assert router.sh(f"which {program}") == "status 1\n"
    assert router.sh(f"{program} x") == f"/bin/ash: {program}: not found\nstatus 127\n"


def test_the_shell_is_the_busyboxes(router: Router) -> None:
    assert router.sh('a=abcabc; [[ $a == abc* ]] && echo "${a//b/-}"; readlink /bin/sh') == (
        "a-ca-c\n/usr/libexec/busybox\n"
    )


def test_ip_is_the_busyboxes(router: Router) -> None:
    assert "status" in router.sh("ip -j link 2>/dev/null")


@pytest.mark.parametrize(
    ("words", "number", "text"),
    [
        ("call network.interface status", 2, "Invalid argument"),
        (f"call {STATUS} nothing", 3, "Method not found"),
        (f"call {STATUS} status nonsense", 12, "Parsing message data failed"),
        ("call network", 2, "Invalid argument"),
    ],
)
def test_ubus_has_plain_numbers_with_s_and_odd_ones_without(router: Router, words: str, number: int, text: str) -> None:
    assert router.sh(f"ubus -S {words}") == f"status {number}\n"
    assert router.sh(f"ubus {words}") == f"Command failed: ubus {words} ({text})\nstatus {256 - number}\n"


@pytest.mark.parametrize("flag", ["-S", ""])
def test_an_unknown_object_is_4_either_way(router: Router, flag: str) -> None:
    assert router.sh(f"ubus {flag} call network.interface.none status 2>/dev/null") == "status 4\n"


def test_ubus_prints_compact_with_s_and_indented_without(router: Router) -> None:
    assert router.sh(f"ubus -S call {STATUS} status").startswith('{"up":true,"pending":false,')
    assert router.sh(f"ubus call {STATUS} status").startswith('{\n\t"up": true,\n')
    assert router.sh("ubus list 'network.interface.l*'") == "network.interface.lan\nnetwork.interface.loopback\n"


def test_an_image_without_luci_has_no_rpcd(router: Router) -> None:
    assert router.sh("ubus -S list session; ubus -S list uci") == "status 4\n"


def test_ifstatus_of_nobody(router: Router) -> None:
    assert router.sh("ifstatus none") == "Interface none not found\nstatus 1\n"
    assert '"up": true' in router.sh("ifstatus lan")


@pytest.mark.parametrize("release", RELEASES)
def test_the_release_is_told(tmp_path: Path, release: str) -> None:
    with Router(tmp_path, release=release) as router:
        assert router.sh(". /etc/openwrt_release; echo $DISTRIB_RELEASE") == f"{RELEASES[release]}\n"
        assert RELEASES[release] in router.sh("ubus call system board")
        newer = "status 1" not in router.sh("grep -q renew_handler /lib/netifd/proto/wireguard.sh")
        assert newer == (release == "25.12")
        assert ("status 1" not in router.sh("[ -x /sbin/fw4 ]")) == (release != "21.02")


DOCUMENT = {
    "up": True,
    "route": [{"target": "10.0.0.0", "mask": 8}],
    "ipv4-address": [{"address": "10.3.2.5"}],
    "n": "x",
}


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("@.up", [True]),
        ("@.none", []),
        ("@.route[0].mask", [8]),
        ("@.route[-1].target", ["10.0.0.0"]),
        ("@['ipv4-address'][*].address", ["10.3.2.5"]),
        ("@.route[@.mask=8].target", ["10.0.0.0"]),
        ("@.route[@.target='10.0.0.0'].mask", [8]),
        ("$.n", ["x"]),
    ],
)
def test_jsonfilter_finds(expression: str, found: list[object]) -> None:
    assert jsonfilter.find(DOCUMENT, expression) == found


def test_jsonfilter_in_a_pipe(router: Router) -> None:
    pipe = f"ubus call {STATUS} status | jsonfilter -e '@.up' -e '@[\"ipv4-address\"][0].address'"
    assert router.sh(pipe) == "true\n192.168.0.1\n"
    assert router.sh("echo '{}' | jsonfilter -e @.a") == "status 1\n"
    assert "does not know" in router.sh("echo '{}' | jsonfilter -e '@.a[1:2]'")
