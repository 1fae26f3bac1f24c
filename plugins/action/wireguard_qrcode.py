# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The QR code of a client, from the hub's file to the controller's terminal without a stop in a variable or a log."""

from __future__ import annotations

import base64
import os
import tempfile
from typing import Any, Callable

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.homelab.fabric.plugins.module_utils.qr import (
    REMEDY,
    Code,
    QrError,
    holds_private_key,
    is_configuration,
    significant,
)

display = Display()

ARGUMENTS: dict[str, Any] = {
    "content": {"type": "str", "no_log": True},
    "client": {"type": "str"},
    "config": {"type": "str"},
    "title": {"type": "str"},
    "png": {"type": "str"},
    "svg": {"type": "str"},
    "print": {"type": "bool", "default": True},
    "force_print": {"type": "bool", "default": False},
}
CONFIG = "/etc/wireguard/clients/{}.conf"

# Both store what is printed: ansible-runner names the folder of the events that it keeps, AWX itself.
KEEPERS = ("AWX_HOST", "AWX_ISOLATED_DATA_DIR")

PICTURES: dict[str, Callable[[Code], bytes]] = {"png": Code.png, "svg": Code.svg}


class ActionModule(ActionBase):  # type: ignore[misc]
    """Prints a QR code, writes it to files, and returns everything about it but the content."""

    _supports_check_mode = True
    _supports_async = False
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _spec, arguments = self.validate_argument_spec(
            ARGUMENTS,
            required_one_of=[("content", "client")],
            mutually_exclusive=[("content", "client")],
            required_by={"config": "client"},
        )
        heading = arguments["title"] or arguments["client"]
        title = heading or "the text"
        files = {kind: self._loader.path_dwim(arguments[kind]) for kind in PICTURES if arguments[kind]}
        if len(set(files.values())) < len(files):
            raise AnsibleActionFail(f"png and svg are both {files['svg']}: name two files")
        content = self._content(arguments, task_vars or {})
        if not content and self._task.check_mode:
            return {
                "changed": bool(files),
                "files": list(files.values()),
                "printed": False,
                "msg": f"a run without check mode would make the QR code of {title}, whose content is not there yet",
            }
        if arguments["client"] and not holds_private_key(content):
            msg = f"no QR code for {title}: its configuration holds no private key, the device has its own"
            return {"changed": False, "files": [], "printed": False, "msg": msg}
        try:
            code = Code(content)
        except QrError as error:
            raise AnsibleActionFail(f"no QR code for {title}: {error}") from error
        silence = self._silence(code, arguments, bool(files))
        changed = [write(path, PICTURES[kind](code), self._task.check_mode) for kind, path in files.items()]
        if not silence:
            # Past the callback plugins, which would quote it, and past the log file.
            display.display("\n" + (f"{heading}\n" if heading else "") + code.text(), screen_only=True)
        facts = f"version {code.version}, error correction {code.error_correction}, {code.columns} columns wide"
        return {
            "changed": any(changed),
            "version": code.version,
            "error_correction": code.error_correction,
            "columns": code.columns,
            "files": list(files.values()),
            "printed": not silence,
            "msg": f"the QR code of {title} ({facts}) " + (f"is not printed: {silence}" if silence else "is printed"),
        }

    def _content(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> str:
        """What to encode; empty if there is nothing yet."""
        if not arguments["client"]:
            return significant(arguments["content"])
        path = arguments["config"] or CONFIG.format(arguments["client"])
        answer = self._execute_module("ansible.legacy.slurp", {"src": path}, task_vars=task_vars)
        if answer.get("failed"):
            problem = str(answer.get("msg", "slurp says nothing"))
            if self._task.check_mode and problem.lower().startswith("file not found"):
                return ""
            raise AnsibleActionFail(
                f"the configuration of {arguments['client']} cannot be read: {problem}. Make the client with "
                "homelab.fabric.wireguard_client, name its file in `config`, or run the task with `become: true`"
            )
        content = significant(base64.b64decode(answer["content"]).decode(errors="replace"))
        if not is_configuration(content):
            raise AnsibleActionFail(f"{path} is not a WireGuard configuration: it does not begin with [Interface]")
        return content

    def _silence(self, code: Code, arguments: dict[str, Any], has_files: bool) -> str:
        """Why the code is not printed; empty if it is. Raises where nothing could come of the task."""
        if not arguments["print"]:
            return "print is false"
        if self._task.check_mode:
            return "check mode"
        keeper = next((name for name in KEEPERS if os.environ.get(name)), None)
        width = display.columns + 1  # Ansible leaves the terminal's last column free
        reason = ""
        if arguments["force_print"]:
            pass
        elif keeper:
            reason = (
                f"the output of this run is kept by AWX or ansible-runner ({keeper} is set), and the code holds a "
                "private key. Write it to a file with `png` or `svg`, or set `force_print: true`"
            )
        elif code.columns > width:
            reason = (
                f"it is {code.columns} columns wide and the terminal has {width}. Widen the terminal, write the code "
                f"to a file with `png` or `svg`, or {REMEDY}"
            )
            if not has_files:
                raise AnsibleActionFail(f"the QR code is not printed: {reason}")
        if reason:
            display.warning(f"The QR code is not printed: {reason}.")
        elif constants.DEFAULT_LOG_PATH:
            display.warning(
                f"A log file is configured ({constants.DEFAULT_LOG_PATH}). The QR code holds a private key: it is "
                "shown on the screen, and left out of the log."
            )
        return reason


def write(path: str, data: bytes, dry: bool) -> bool:
    """Whether a file's bytes or mode had to change. It is replaced as a whole; folders it needs are private."""
    try:
        with open(path, "rb") as file:
            if file.read() == data and os.stat(path).st_mode & 0o777 == 0o600:
                return False
        missing = []
    except FileNotFoundError:
        missing = missing_folders(path)
    except OSError as error:
        raise AnsibleActionFail(f"{path} cannot be read: {error.strerror}. Name another file") from error
    if dry:
        return True
    try:
        for folder in missing:
            os.mkdir(folder, 0o700)
        handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".")  # made with mode 0600
        try:
            with open(handle, "wb") as file:
                file.write(data)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise AnsibleActionFail(f"{path} cannot be written: {error.strerror}. Name another file") from error
    return True


def missing_folders(path: str) -> list[str]:
    """The folders above a file that are still to be made, the outermost first."""
    folder = os.path.dirname(path)
    return [] if os.path.isdir(folder) else [*missing_folders(folder), folder]
