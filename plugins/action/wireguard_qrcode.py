# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The QR code of a client, from the hub's file to the controller's terminal without a stop in a variable or a log."""

from __future__ import annotations

import base64
import os
import shlex
import tempfile
from typing import Any, Callable, NamedTuple

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
    "clients": {"type": "list", "elements": "str"},
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


class Wanted(NamedTuple):
    """One code to make. `heading` stands above it, `title` names it in messages; `files`: kind of picture → path."""

    heading: str | None
    title: str
    content: str
    files: dict[str, str]


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core has no types
    """Prints QR codes, writes them to files, and returns everything about them but the content."""

    _supports_check_mode = True
    _supports_async = False
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _spec, arguments = self.validate_argument_spec(
            ARGUMENTS,
            required_one_of=[("content", "client", "clients")],
            mutually_exclusive=[("content", "client", "clients"), ("clients", "title")],
            required_by={"config": "client"},
        )
        wanted = self._wanted(arguments)
        # All are made before the first is shown: a mistake in one of them leaves nothing half done.
        codes = [self._code(item, arguments) for item in wanted]
        results = [self._show(item, code, arguments) for item, code in zip(wanted, codes)]
        if arguments["clients"] is None:
            return results[0]
        return {
            "changed": any(result["changed"] for result in results),
            "files": [path for result in results for path in result["files"]],
            "printed": any(result["printed"] for result in results),
            "msg": [result["msg"] for result in results],
        }

    def _wanted(self, arguments: dict[str, Any]) -> list[Wanted]:
        if arguments["clients"] is not None:
            names = list(dict.fromkeys(arguments["clients"]))
            contents = self._configurations({name: CONFIG.format(name) for name in names})
            return [Wanted(name, name, contents[name], self._files(arguments, f"{name}.{{}}")) for name in names]
        client = arguments["client"]
        heading = arguments["title"] or client
        if client:
            content = self._configurations({client: arguments["config"] or CONFIG.format(client)})[client]
        else:
            content = significant(arguments["content"])
        return [Wanted(heading, heading or "the text", content, self._files(arguments))]

    def _files(self, arguments: dict[str, Any], name: str = "") -> dict[str, str]:
        """Kind of picture → path, which is `name` in a folder if there is one name a client."""
        several = {kind: self._loader.path_dwim(arguments[kind]) for kind in PICTURES if arguments[kind]}
        files = {kind: os.path.join(path, name.format(kind)) if name else path for kind, path in several.items()}
        if len(set(files.values())) < len(files):
            raise AnsibleActionFail(f"png and svg are both {files['svg']}: name two files")
        return files

    def _code(self, wanted: Wanted, arguments: dict[str, Any]) -> Code | None:
        """None where there is nothing to encode: not yet, in check mode, or a device's own key."""
        if not wanted.content and self._task.check_mode:
            return None
        if arguments["content"] is None and not holds_private_key(wanted.content):
            return None
        try:
            return Code(wanted.content)
        except QrError as error:
            raise AnsibleActionFail(f"no QR code for {wanted.title}: {error}") from error

    def _show(self, wanted: Wanted, code: Code | None, arguments: dict[str, Any]) -> dict[str, Any]:
        files = list(wanted.files.values())
        if code is None and not wanted.content:
            msg = f"a run without check mode would make the QR code of {wanted.title}, whose content is not there yet"
            return {"changed": bool(files), "files": files, "printed": False, "msg": msg}
        if code is None:
            msg = f"no QR code for {wanted.title}: its configuration holds no private key, the device has its own"
            return {"changed": False, "files": [], "printed": False, "msg": msg}
        silence = self._silence(code, arguments, bool(files))
        changed = [write(path, PICTURES[kind](code), self._task.check_mode) for kind, path in wanted.files.items()]
        if not silence:
            # Past the callback plugins, which would quote it, and past the log file.
            above = f"{wanted.heading}\n" if wanted.heading else ""
            display.display("\n" + above + code.text(), screen_only=True)
        facts = f"version {code.version}, error correction {code.error_correction}, {code.columns} columns wide"
        fate = f"is not printed: {silence}" if silence else "is printed"
        return {
            "changed": any(changed),
            "version": code.version,
            "error_correction": code.error_correction,
            "columns": code.columns,
            "files": files,
            "printed": not silence,
            "msg": f"the QR code of {wanted.title} ({facts}) {fate}",
        }

    def _configurations(self, paths: dict[str, str]) -> dict[str, str]:
        """Client → its configuration on the host, all read by one command; empty where there is none in check mode."""
        if not paths:
            return {}
        read = "LC_ALL=C base64 -w0 {} || printf failed; echo"
        script = "; ".join(read.format(shlex.quote(path)) for path in paths.values())
        context = self._connection._play_context
        censored, context.no_log = context.no_log, True  # -vvv shows what comes from the host
        try:
            answer = self._low_level_execute_command(script)
        finally:
            context.no_log = censored
        # On a terminal, as ssh may have one, errors come with the rest.
        answers = [line for kind in ("stdout", "stderr") for line in str(answer[kind]).splitlines()]
        problems = [line for line in answers if line.startswith("base64: ")]
        lines = [line for line in str(answer["stdout"]).splitlines() if line not in problems][-len(paths) :]
        lines += ["failed"] * (len(paths) - len(lines))
        return {
            name: self._configuration(name, path, line, problems) for (name, path), line in zip(paths.items(), lines)
        }

    def _configuration(self, name: str, path: str, line: str, problems: list[str]) -> str:
        """What a line of base64 holds; `failed` stands for a file that cannot be read."""
        if line == "failed":
            problem = next((text for text in problems if path in text), f"`base64 {path}` did not work")
            if self._task.check_mode and problem.endswith("No such file or directory"):
                return ""
            raise AnsibleActionFail(
                f"the configuration of {name} cannot be read: {problem}. Make the client with "
                "homelab.fabric.wireguard_client, name its file in `config`, or run the task with `become: true`"
            )
        content = significant(base64.b64decode(line).decode(errors="replace"))
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
