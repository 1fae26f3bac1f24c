"""Run a module of the collection as Ansible does, in its own process: MODULE, arguments as JSON on standard input."""

from __future__ import annotations

import importlib
import json
import sys

from ansible.module_utils import basic

arguments = json.load(sys.stdin)
basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
basic._ANSIBLE_PROFILE = "legacy"
importlib.import_module(f"ansible_collections.homelab.fabric.plugins.modules.{sys.argv[1]}").main()
