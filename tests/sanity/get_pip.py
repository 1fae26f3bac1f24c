"""Put pip into an empty environment: for ansible-test, which would fetch a script for that from the Internet.

Called with the arguments of ``pip install`` (packages with versions, options), and get-pip's own two switches.
"""

from __future__ import annotations

import subprocess
import sys

# In a process of its own: ensurepip switches off pip's configuration (mirror, certificates) in the one it runs in.
subprocess.run([sys.executable, "-m", "ensurepip", "--default-pip"], check=True)
arguments = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.run([sys.executable, "-m", "pip", "install", *arguments], check=False).returncode)
