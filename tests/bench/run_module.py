"""Run a module of the collection as Ansible does, in its own process: MODULE, arguments as JSON on standard input.

HOMELAB_PHP in the environment stands for pfSense's /usr/local/bin/php.
"""

from __future__ import annotations

import importlib
import json
import os
import sys

from ansible.module_utils import basic
from ansible_collections.homelab.fabric.plugins.module_utils import pfsense

arguments = json.load(sys.stdin)
basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
basic._ANSIBLE_PROFILE = "legacy"
pfsense.PHP = os.environ.get("HOMELAB_PHP", pfsense.PHP)
importlib.import_module(f"ansible_collections.homelab.fabric.plugins.modules.{sys.argv[1]}").main()
