#!/usr/bin/python
# Copyright: (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: cloudflare_records
author:
  - homelab.fabric contributors (@homelab-fabric)
version_added: 0.1.0
short_description: DNS records of a zone at Cloudflare
description:
  - Brings A, AAAA, CNAME and TXT records of one zone to what a list says, in one module call.
  - The zone is read once. Several changes travel as one batch, which Cloudflare carries out wholly or not at all.
  - A content that changed changes its record; it does not add a second one. What is managed elsewhere of a record
    (tags, settings, a comment when O(records[].comment) is left out) is kept.
  - A record whose content this module wrote carries C([managed by OWNER]) at the end of its comment, OWNER being
    O(owner). Only such records are removed by O(prune).
  - Records made by somebody else are left alone, with two exceptions. One that already has a listed content gets the
    listed TTL, proxying and comment, and stays theirs. If a listed A, AAAA or CNAME finds exactly one record of its
    name and type, and that one is somebody else's, it is changed and managed from then on; the diff says so. If there
    are several, the module fails and changes nothing. A TXT record with a content that is not listed is never touched.
requirements:
  - cloudflare >= 4.0 (Cloudflare's official SDK for Python), on the host that executes the module
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying the target.
    support: full
  diff_mode:
    description: Will return details on what has changed, or in check_mode what would change, in diff mode.
    support: full
options:
  api_token:
    description:
      - A token with the right DNS Write (shown as DNS Edit) for the zone, and Zone Read if the zone is given only by
        name.
      - Without it the environment variable E(CLOUDFLARE_API_TOKEN) is used, and no other of Cloudflare's variables.
    type: str
  zone_id:
    description:
      - The zone's ID, 32 hexadecimal digits, as its overview page shows it.
      - At least one of O(zone_id) and O(zone) is required. With O(zone_id) the token needs no right to read zones.
    type: str
  zone:
    description:
      - The zone's name.
      - Completes relative names. Without O(zone_id) it is looked up as well.
    type: str
  records:
    description: The records. Several contents of one name and type are several entries.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - The full name, C(*) as its first label included.
          - With O(zone) it may be relative to the zone, or C(@) for the zone itself.
          - Unicode is written as Punycode.
        type: str
        required: true
      type:
        description: The record's type.
        type: str
        choices: [A, AAAA, CNAME, TXT]
        default: A
      content:
        description:
          - The address, the full name that a CNAME points to, or the text, with or without its double quotes.
          - Required, except with O(records[].state=absent) for other types than TXT.
        type: str
      ttl:
        description:
          - Seconds, 60 to 86400, or V(1) for automatic. As O(ttl) if left out.
          - Without effect on proxied records, whose TTL Cloudflare chooses.
        type: int
      proxied:
        description:
          - Whether Cloudflare receives the traffic and passes it on (HTTP and HTTPS alone). As O(proxied) if left out.
          - Leave it off for streaming media, and where the server behind gets certificates by itself.
        type: bool
      comment:
        description:
          - A text for people. With the owner's mark it has room for 100 characters.
          - The text that is there stays when this is left out.
        type: str
      state:
        description:
          - V(present) makes or changes the record.
          - V(absent) removes the record with this content, whoever made it. Without O(records[].content) it removes all
            records of this name and type.
        type: str
        choices: [present, absent]
        default: present
  ttl:
    description: The TTL of records that do not say.
    type: int
    default: 1
  proxied:
    description: Whether A, AAAA and CNAME records that do not say are proxied.
    type: bool
    default: false
  prune:
    description: Whether to remove records with the mark of this O(owner) that are not in O(records), in the whole zone.
    type: bool
    default: false
  owner:
    description:
      - Who manages these records. Lists of different owners in one zone do not prune or change each other's records.
      - At most 40 letters, digits, dots, hyphens and underscores.
    type: str
    default: homelab.fabric
  timeout:
    description:
      - How many seconds the module waits in all when Cloudflare asks to wait (HTTP 429) or fails (HTTP 5xx).
      - After 1200 requests in 5 minutes Cloudflare refuses all for 5 minutes.
    type: int
    default: 60
  base_url:
    description: Where the API is.
    type: str
    default: https://api.cloudflare.com/client/v4
notes:
  - "Run it on the controller with C(delegate_to: localhost). There C(ansible_python_interpreter) should be
    C({{ ansible_playbook_python }}), so that the SDK is found beside Ansible."
  - To trust another certificate authority at O(base_url), name a file of authorities in the environment variable
    E(SSL_CERT_FILE).
seealso:
  - module: community.general.cloudflare_dns
    description: Further record types, one record a task.
"""

EXAMPLES = r"""
- name: Two services behind the relay, and nothing else of ours
  homelab.fabric.cloudflare_records:
    api_token: "{{ cloudflare_api_token }}"
    zone_id: 023e105f4ecef8ad9ca31a8372d0c353
    prune: true
    records:
      - name: jellyfin.example.org
        content: 203.0.113.10
        comment: Films, through the relay
      - name: jellyfin.example.org
        type: AAAA
        content: 2001:db8:113::10
      - name: grafana.example.org
        type: CNAME
        content: jellyfin.example.org
  delegate_to: localhost

- name: Names relative to a zone, which is looked up by its name
  homelab.fabric.cloudflare_records:
    zone: example.org
    records:
      - name: "@"
        content: 203.0.113.10
        proxied: true
      - name: _acme-challenge
        type: TXT
        content: gfj9Xq...Rg85nM
        ttl: 60
      - name: old
        state: absent
  environment:
    CLOUDFLARE_API_TOKEN: "{{ vault_cloudflare_token }}"
  delegate_to: localhost
"""

RETURN = r"""
commands:
  description:
    - The changes, each as the API call that would make it alone, in the order in which they are made.
    - In check mode those that a real run would make.
  returned: success
  type: list
  elements: str
  sample:
    - 'POST /zones/023e105f4ecef8ad9ca31a8372d0c353/dns_records {"name": "jellyfin.example.org", "type": "A", "ttl": 1,
      "content": "203.0.113.10", "proxied": false, "comment": "[managed by homelab.fabric]"}'
records:
  description:
    - The listed records as the zone has them after the run, in the list's order.
    - TXT contents are without quotes.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: The record's ID, V((known after apply\)) for one that check mode did not make.
      type: str
    name:
      description: The full name.
      type: str
    type:
      description: The type.
      type: str
    content:
      description: The content in normal form.
      type: str
    ttl:
      description: Seconds, V(1) for automatic.
      type: int
    proxied:
      description: Whether Cloudflare passes the traffic on.
      type: bool
    comment:
      description: The whole comment with the owner's mark.
      type: str
zone_id:
  description: The zone's ID.
  returned: success
  type: str
  sample: 023e105f4ecef8ad9ca31a8372d0c353
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule, env_fallback, missing_required_lib
from ansible_collections.homelab.fabric.plugins.module_utils import cloudflare, dns_input
from ansible_collections.homelab.fabric.plugins.module_utils.dns_plan import diff
from ansible_collections.homelab.fabric.plugins.module_utils.dns_text import TYPES, RecordError

RECORD: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "type": {"type": "str", "choices": list(TYPES), "default": "A"},
    "content": {"type": "str"},
    "ttl": {"type": "int"},
    "proxied": {"type": "bool"},
    "comment": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}
ARGUMENTS: dict[str, Any] = {
    "api_token": {"type": "str", "no_log": True, "fallback": (env_fallback, ["CLOUDFLARE_API_TOKEN"])},
    "zone_id": {"type": "str"},
    "zone": {"type": "str"},
    "records": {"type": "list", "elements": "dict", "required": True, "options": RECORD},
    "ttl": {"type": "int", "default": 1},
    "proxied": {"type": "bool", "default": False},
    "prune": {"type": "bool", "default": False},
    "owner": {"type": "str", "default": "homelab.fabric"},
    "timeout": {"type": "int", "default": 60},
    "base_url": {"type": "str", "default": cloudflare.BASE_URL},
}


def main() -> None:
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True, required_one_of=[("zone_id", "zone")])
    options = module.params
    try:
        zone = dns_input.read_zone(options["zone"])
        given_id = dns_input.read_zone_id(options["zone_id"])
        owner = dns_input.read_owner(options["owner"])
        listed = dns_input.read_records(options["records"], zone, options["ttl"], options["proxied"])
        api = cloudflare.Api(
            dns_input.read_token(options["api_token"]),
            dns_input.read_base_url(options["base_url"]),
            dns_input.read_timeout(options["timeout"]),
        )
        zone_id = given_id or api.zone_id(str(zone))
        done = cloudflare.converge(api, zone_id, listed, owner, options["prune"], write=not module.check_mode)
    except ImportError:
        module.fail_json(msg=missing_required_lib("cloudflare"))
    except (RecordError, cloudflare.ApiError) as error:
        module.fail_json(msg=str(error))
    result: dict[str, Any] = {
        "changed": bool(done.changes),
        "commands": [cloudflare.command(change, zone_id) for change in done.changes],
        "records": [record._asdict() for record in done.records],
        "zone_id": zone_id,
    }
    if module._diff:
        header = f"zone {zone or zone_id}"
        result["diff"] = {"before_header": header, "after_header": header, **diff(done.changes, owner)}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
