"""Stand-in for the script that ansible-test fetches to put pip into an empty environment, for machines that reach PyPI alone.

Called with the arguments of ``pip install`` (packages with versions, options), and get-pip's own two switches.
"""

from __future__ import annotations

import ensurepip
import subprocess
import sys

ensurepip.bootstrap(default_pip=True)
arguments = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.run([sys.executable, "-m", "pip", "install", *arguments], check=False).returncode)
