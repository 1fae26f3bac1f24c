"""cloudflare_records against the strict double of Cloudflare's API: what a user sees, and what was sent."""

from __future__ import annotations

import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible.module_utils import basic
from ansible_collections.homelab.fabric.plugins.module_utils import cloudflare as backend
from ansible_collections.homelab.fabric.plugins.module_utils import dns_input
from ansible_collections.homelab.fabric.plugins.modules import cloudflare_records
from cloudflare_double import Cloudflare, Limit, Token

TOKEN = "dns-write-token-0001"
OTHER_ZONE = "fedcba9876543210fedcba9876543210"
MARK = "[managed by homelab.fabric]"

Answer = dict[str, Any]
Run = Callable[..., Answer]


def a(name: str = "jellyfin.example.org", content: str = "203.0.113.10", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "A", "content": content, **more}


@pytest.fixture
def zone() -> Iterator[Cloudflare]:
    tokens = [
        Token("reads-zones-too-0002", frozenset({"dns_write", "zone_read"}), frozenset({"example.org"})),
        Token("reads-only-0003", frozenset({"dns_read"})),
        Token("of-another-zone-0004", frozenset({"dns_write", "zone_read"}), frozenset({"example.net"})),
    ]
    with Cloudflare("example.org", TOKEN, tokens=tokens, other_zones={"example.net": OTHER_ZONE}) as double:
        yield double


@pytest.fixture
def run(zone: Cloudflare, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the module in this process; arguments that are None are left out."""

    def run_module(records: Any, check: bool = False, **arguments: Any) -> Answer:
        given = {"api_token": TOKEN, "zone_id": zone.zone_id, "base_url": zone.base_url, "records": records}
        given = {key: value for key, value in {**given, **arguments}.items() if value is not None}
        given.update(_ansible_check_mode=check, _ansible_diff=True)
        monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": given}).encode())
        monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)  # ansible-core 2.19 and later
        with pytest.raises(SystemExit):
            cloudflare_records.main()
        written = capsys.readouterr().out
        assert TOKEN not in written
        answer: Answer = json.loads(written)
        return answer

    return run_module


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the module wanted to wait; none of them is waited."""
    waited: list[float] = []
    monkeypatch.setattr(backend.Api.__init__, "__defaults__", (*backend.Api.__init__.__defaults__[:-1], waited.append))  # type: ignore[index]
    return waited


def shown(zone: Cloudflare) -> list[tuple[str, str, str]]:
    return [(record["name"], record["type"], record["content"]) for record in zone.records]


def test_several_records_are_made_by_one_request_and_then_left_alone(zone: Cloudflare, run: Run) -> None:
    records = [
        a(comment="Films", ttl=300),
        {"name": "jellyfin.example.org", "type": "AAAA", "content": "2001:DB8:113:0::10"},
        {"name": "Grafana.Example.org.", "type": "CNAME", "content": "JELLYFIN.example.org."},
        {"name": "_note.example.org", "type": "TXT", "content": 'say "hello" \\ ' + "x" * 300},
        a("bücher.example.org", proxied=True, ttl=300),
        a("*.apps.example.org"),
    ]
    first = run(records)
    assert first["changed"]
    assert [entry.method for entry in zone.requests] == ["GET", "POST"]
    assert len(first["commands"]) == 6
    assert {record["id"] for record in first["records"]} == {record["id"] for record in zone.records}
    assert shown(zone)[:2] == [
        ("*.apps.example.org", "A", "203.0.113.10"),
        ("_note.example.org", "TXT", '"say \\"hello\\" \\\\ ' + "x" * 241 + '" "' + "x" * 59 + '"'),
    ]
    assert ("xn--bcher-kva.example.org", "A", "203.0.113.10") in shown(zone)
    assert [record["comment"] for record in first["records"][:2]] == [f"Films {MARK}", MARK]

    second = run(records)
    assert not second["changed"]
    assert second["commands"] == []
    assert (second["diff"]["before"], second["diff"]["after"]) == ("", "")
    assert second["records"] == first["records"]
    assert [entry.method for entry in zone.requests[2:]] == ["GET"]


def test_changed_content_changes_the_record_and_keeps_what_is_not_ours(zone: Cloudflare, run: Run) -> None:
    made = run([a(comment="Films")])["records"][0]
    changed = run([a(content="198.51.100.7")])
    (record,) = zone.records
    assert (record["id"], record["content"], record["comment"]) == (made["id"], "198.51.100.7", f"Films {MARK}")
    (command,) = changed["commands"]
    body = '{"name": "jellyfin.example.org", "type": "A", "ttl": 1, "content": "198.51.100.7", "proxied": false}'
    assert command == f"PATCH /zones/{zone.zone_id}/dns_records/{made['id']} {body}"
    zone_text = f"zone {zone.zone_id}"
    assert changed["diff"] == {
        "before_header": zone_text,
        "after_header": zone_text,
        "before": f"jellyfin.example.org A 203.0.113.10 ttl=auto DNS-only # Films {MARK}\n",
        "after": f"jellyfin.example.org A 198.51.100.7 ttl=auto DNS-only # Films {MARK}\n",
    }


def test_check_mode_tells_what_the_real_run_does_and_writes_nothing(zone: Cloudflare, run: Run) -> None:
    zone.seed(a("old.example.org", comment=MARK), a(content="198.51.100.1"))
    records = [a(), a("new.example.org")]
    check = run(records, check=True, prune=True)
    assert zone.writes == 0
    assert [record["id"] for record in check["records"]][1] == "(known after apply)"
    real = run(records, prune=True)
    assert [command.split()[0] for command in real["commands"]] == ["DELETE", "PATCH", "POST"]
    assert (check["commands"], check["diff"]) == (real["commands"], real["diff"])
    assert "(not made by homelab.fabric, is taken over)" in real["diff"]["before"]
    assert shown(zone) == [("jellyfin.example.org", "A", "203.0.113.10"), ("new.example.org", "A", "203.0.113.10")]


def test_prune_removes_what_left_the_list_and_only_what_this_owner_made(zone: Cloudflare, run: Run) -> None:
    zone.seed(a("www.example.org"), a("theirs.example.org", comment="x [managed by somebody]"))
    run([a(), a("other.example.org")])
    run([a("of-relay2.example.org")], owner="relay2")
    assert not run([a()])["changed"]
    assert run([a()], prune=True)["changed"]
    left = ["jellyfin", "of-relay2", "theirs", "www"]
    assert [record["name"].split(".")[0] for record in zone.records] == left
    assert run([], prune=True)["changed"]
    assert [record["name"].split(".")[0] for record in zone.records] == left[1:]


def test_a_record_that_somebody_else_made_as_listed_is_neither_written_nor_pruned(zone: Cloudflare, run: Run) -> None:
    zone.seed(a(comment="by hand"))
    assert not run([a()], prune=True)["changed"]
    assert run([a(ttl=120)])["changed"]
    assert not run([], prune=True)["changed"]
    assert [(record["ttl"], record["comment"]) for record in zone.records] == [(120, "by hand")]


def test_txt_of_somebody_else_stays_beside_ours(zone: Cloudflare, run: Run) -> None:
    zone.seed({"name": "example.org", "type": "TXT", "content": "v=spf1 -all"})
    for content in ("one", "two"):
        assert run([{"name": "@", "type": "TXT", "content": content}], zone="example.org", prune=True)["changed"]
    assert [content for _name, _type, content in shown(zone)] == ['"two"', '"v=spf1 -all"']


def test_state_absent_removes_what_is_named(zone: Cloudflare, run: Run) -> None:
    zone.seed(
        a(), a(content="203.0.113.11"), a("x.example.org"), {"name": "t.example.org", "type": "TXT", "content": "k"}
    )
    gone = [
        a(state="absent"),
        {"name": "x.example.org", "state": "absent"},
        {"name": "t.example.org", "type": "TXT", "content": "k", "state": "absent"},
    ]
    assert run(gone)["changed"]
    assert shown(zone) == [("jellyfin.example.org", "A", "203.0.113.11")]
    assert not run(gone)["changed"]


def test_type_changes_in_one_transaction(zone: Cloudflare, run: Run) -> None:
    run([a(), {"name": "jellyfin.example.org", "type": "AAAA", "content": "2001:db8::1"}])
    run([{"name": "jellyfin.example.org", "type": "CNAME", "content": "vps.example.org"}])
    assert shown(zone) == [("jellyfin.example.org", "CNAME", "vps.example.org")]
    run([a()])
    assert shown(zone) == [("jellyfin.example.org", "A", "203.0.113.10")]


def test_more_than_one_batch_and_more_than_one_page(
    zone: Cloudflare, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [a(f"host{number}.example.org") for number in range(450)]
    run(records)
    assert [entry.changes for entry in zone.requests] == [0, 200, 200, 50]
    monkeypatch.setattr(backend, "PER_PAGE", 100)
    assert not run(records)["changed"]
    assert len(zone.requests) == 4 + 5


def test_zone_by_name_completes_names(zone: Cloudflare, run: Run) -> None:
    done = run([a("jellyfin"), a("@")], api_token="reads-zones-too-0002", zone="Example.org", zone_id=None)
    assert [record["name"] for record in done["records"]] == ["jellyfin.example.org", "example.org"]
    assert done["zone_id"] == zone.zone_id


def test_the_token_comes_from_its_variable_and_no_other_is_obeyed(
    zone: Cloudflare, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", TOKEN)
    monkeypatch.setenv("CLOUDFLARE_EMAIL", "me@example.org")
    monkeypatch.setenv("CLOUDFLARE_API_KEY", "0" * 37)
    monkeypatch.setenv("CLOUDFLARE_API_USER_SERVICE_KEY", "v1.0-x")
    monkeypatch.setenv("CLOUDFLARE_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("CLOUDFLARE_CUSTOM_HEADERS", "Authorization: Bearer wrong")
    assert run([a()], api_token=None)["changed"]


def test_throttling_is_waited_for_as_asked(zone: Cloudflare, run: Run, waits: list[float]) -> None:
    zone.fail(status=429, retry_after=7)
    zone.fail(status=429, retry_after=9, writes_only=True)
    assert run([a()])["changed"]
    assert waits == [7, 9]
    assert zone.writes == 1


def test_throttling_beyond_the_timeout_is_an_error_that_says_how_long(zone: Cloudflare, run: Run) -> None:
    zone.fail(status=429, retry_after=240)
    message = run([a()])["msg"]
    assert message.startswith("timeout: Cloudflare asks to wait 240 s when listing the zone's records (HTTP 429: 971")
    assert message.endswith("60 s are left of the 60 s allowed; run again later or raise timeout")


def test_the_real_rate_limit(run: Run, zone: Cloudflare) -> None:
    zone.api.limiter.limits = [Limit(1, 1)]
    assert run([a()], timeout=30)["changed"]
    assert len([entry for entry in zone.requests if entry.status == 429]) == 1


@pytest.mark.parametrize("executed", [False, True], ids=["lost", "executed"])
@pytest.mark.parametrize(
    "fault",
    [{"status": 500}, {"status": 502, "html": True}, {"status": 503, "retry_after": 3}, {"drop": True}],
    ids=str,
)
def test_a_write_with_an_unknown_end_is_not_made_twice(
    zone: Cloudflare, run: Run, waits: list[float], fault: dict[str, Any], executed: bool
) -> None:
    zone.seed(a("old.example.org", comment=MARK), a("x.example.org", "203.0.113.99", comment=MARK))
    zone.fail(**fault, executed=executed, writes_only=True)
    done = run([a(), a("x.example.org")], prune=True)
    assert done["changed"]
    assert len(done["commands"]) == 3
    assert shown(zone) == [("jellyfin.example.org", "A", "203.0.113.10"), ("x.example.org", "A", "203.0.113.10")]
    assert {record["id"] for record in done["records"]} == {record["id"] for record in zone.records}
    assert zone.writes == 1
    assert len(waits) == 1


def test_reads_are_repeated(zone: Cloudflare, run: Run, waits: list[float]) -> None:
    zone.fail(status=520, html=True, times=2)
    zone.fail(drop=True)
    assert run([a()])["changed"]
    assert len(waits) == 3


def test_a_record_that_appeared_meanwhile_counts_as_made(
    zone: Cloudflare, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = backend.Api.write

    def overtaken(self: backend.Api, *arguments: Any) -> Any:
        if not zone.records:
            zone.seed(a())
        return write(self, *arguments)

    monkeypatch.setattr(backend.Api, "write", overtaken)
    assert run([a()])["records"][0]["id"] == zone.records[0]["id"]


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("token unknown", {"api_token": "no-such-token"}, "api_token: Cloudflare refuses the token when listing"),
    (
        "token of another zone",
        {"api_token": "of-another-zone-0004"},
        "api_token: the token may not be used for listing",
    ),
    (
        "token may only read",
        {"api_token": "reads-only-0003"},
        "api_token: the token may not be used for writing records",
    ),
    ("token malformed for Cloudflare", {"api_token": "a+b/c="}, "api_token: Cloudflare refuses the token"),
    ("no such zone id", {"zone_id": "f" * 32}, "zone_id: there is no such zone (HTTP 404: 7003"),
    (
        "no such zone",
        {"zone_id": None, "zone": "example.com", "api_token": "reads-zones-too-0002"},
        "zone: this token sees no zone example.com; check the spelling",
    ),
    (
        "may not read zones",
        {"zone_id": None, "zone": "example.org"},
        "api_token: Cloudflare refuses the token when looking",
    ),
    ("wrong path", {"base_url": "{root}/v4"}, "zone_id: there is no such zone"),
    ("nobody listens", {"base_url": "http://127.0.0.1:9/client/v4"}, "base_url: no connection to http://127.0.0.1:9"),
    ("no such host", {"base_url": "https://api.invalid/client/v4"}, "base_url: no connection to https://api.invalid"),
    ("not TLS", {"base_url": "https://{address}/client/v4"}, "base_url: no connection to https://127.0.0.1"),
    ("a name of another zone", {"records": [a("x.example.com")]}, "records: x.example.com does not lie in this zone"),
    ("foreign CNAME", {"records": [a("alias.example.org")]}, "records: alias.example.org A cannot be there beside"),
    (
        "foreign address",
        {"records": [{"name": "www.example.org", "type": "CNAME", "content": "vps.example.org"}]},
        "records: www.example.org CNAME cannot be there beside somebody else's A 203.0.113.1",
    ),
    ("several foreign ones", {"records": [a("two.example.org")]}, "which of them to change cannot be known; list"),
    (
        "another owner's",
        {"records": [a("theirs.example.org")]},
        "belongs to owner somebody (203.0.113.4); take it out of",
    ),
    (
        "two for one foreign",
        {"records": [a("www.example.org"), a("www.example.org", "203.0.113.77")]},
        "records: www.example.org A 203.0.113.10 is wanted, but records made by somebody else",
    ),
    (
        "their comment leaves no room",
        {"records": [a("talkative.example.org")]},
        "comment: 118 characters for talkative.example.org A",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refusals_name_the_argument_and_leave_the_zone_alone(
    zone: Cloudflare, run: Run, waits: list[float], arguments: dict[str, Any], message: str
) -> None:
    zone.seed(
        {"name": "alias.example.org", "type": "CNAME", "content": "example.net"},
        a("www.example.org", "203.0.113.1"),
        a("two.example.org", "203.0.113.2"),
        a("two.example.org", "203.0.113.3"),
        a("theirs.example.org", "203.0.113.4", comment="[managed by somebody]"),
        a("talkative.example.org", "203.0.113.5", comment="z" * 90),
    )
    root = zone.base_url.removesuffix("/client/v4")
    if "base_url" in arguments:
        address = root.removeprefix("http://")
        arguments = {**arguments, "base_url": arguments["base_url"].format(root=root, address=address)}
    answer = run(**{"records": [a()], **arguments})
    assert answer["failed"]
    assert message in answer["msg"]
    assert "\n" not in answer["msg"]
    assert zone.writes == 0


@pytest.mark.parametrize("status", [200, 403, 404])
def test_html_instead_of_json(zone: Cloudflare, run: Run, status: int) -> None:
    zone.fail(status=status, html=True)
    assert run([a()])["msg"].startswith(f"base_url: {zone.base_url} answered with ")


def test_html_of_a_failing_server_is_waited_for_and_then_named(zone: Cloudflare, run: Run, waits: list[float]) -> None:
    zone.fail(status=502, html=True, times=99)
    assert run([a()], timeout=4)["msg"].startswith(
        "timeout: Cloudflare failed, and the next attempt would come after 4 s"
    )
    assert waits == [0.5, 1, 2]


def test_untrusted_certificate(run: Run, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=x "
        f"-addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {certificate}".split(),
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"https://127.0.0.1:{server.server_port}/client/v4"
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        assert run([a()], base_url=url)["msg"].startswith(f"base_url: the certificate of {url} is not trusted")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert run([a()], base_url=url)["msg"].startswith(f"base_url: {url} answered with HTTP 404")
        server.shutdown()


def test_missing_sdk(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cloudflare", None)
    assert "Failed to import the required Python library (cloudflare)" in run([a()])["msg"]


def test_nothing_heavy_is_imported_before_the_arguments_are_right() -> None:
    """A run's budget counts the SDK's import: it must not be paid twice, nor by whoever only reads the arguments."""
    code = f"import sys, {cloudflare_records.__name__}; sys.exit('cloudflare' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_throttling_headers() -> None:
    read = backend._asked_to_wait
    assert read({}) is None
    assert read({"retry-after": "12"}) == 12
    assert read({"retry-after": "soon"}) is None
    assert read({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}) == 0
    assert read({"ratelimit": '"default";r=0;t=30'}) == 30
    assert read({"ratelimit": '"default";r=5;t=30'}) is None


def test_spec_and_reader_agree() -> None:
    """What the reader expects of an entry is what Ansible fills in."""
    entry = {**dict.fromkeys(cloudflare_records.RECORD), **a(), "state": "present"}
    assert len(dns_input.read_records([entry], None, 1, False).wanted) == 1
