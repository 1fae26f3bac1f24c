"""``python -m network_manager < CONFIGURATION`` on a host of the lab: print what NetworkManager has read.

Exit status 1 and its words on standard error where it refuses. NetworkManager and a D-Bus of its own run for this one
call, in the host's network namespace and on a disk that is gone afterwards: the VPS's image with LAYER over it.
"""

from __future__ import annotations

import os
import subprocess
import sys

from homelab_lab import image, machine
from homelab_lab.network import BY_NAME

from network_manager import configuration

TIMEOUT = 30  # seconds; it takes a quarter of one
# Hands off all that the host has: only the tunnel would be NetworkManager's.
SETTINGS = """\
[main]
plugins=keyfile
dns=none
no-auto-default=*
[keyfile]
unmanaged-devices=*,except:type:wireguard
"""
# $1: the image, $2: the layer, $3: what runs inside. An overlay takes no folder that lies within another of its own,
# hence the copy. The configuration comes on standard input, the profile goes to standard output.
OUTSIDE = f"""
set -e
mount -t tmpfs -o mode=700 tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
cp -a "$2" /mnt/layer
mount -t overlay -o "lowerdir=/mnt/layer:$1,upperdir=/mnt/upper,workdir=/mnt/work" homelab-fabric /mnt/root
cd /mnt/root
mount --rbind /dev dev
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs -o mode=755 tmpfs run
mkdir run/dbus
cat > etc/NetworkManager/conf.d/lab.conf << 'END'
{SETTINGS}END
exec chroot . sh -c "$3"
"""
INSIDE = """
set -e
umask 077
cat > /run/home.conf
dbus-daemon --system --fork 2> /run/dbus.log
NetworkManager --no-daemon > /run/network-manager.log 2>&1 &
until nmcli general > /dev/null 2>&1; do
    kill -0 $! || { cat /run/dbus.log /run/network-manager.log >&2; exit 1; }
    sleep 0.02
done
nmcli connection import type wireguard file /run/home.conf >&2
cat /etc/NetworkManager/system-connections/home.nmconnection
"""


def main() -> int:
    if not os.environ.get("HOMELAB_LAB_HOST"):
        print("this is no host of the lab. Try: tests/lab/lab exec laptop -- …", file=sys.stderr)
        return 2
    disk = machine.image(BY_NAME["vps-relay"]).resolve()
    layer = f"{disk}{image.LAYER}"
    if not os.path.isdir(layer):
        print("the lab is older than NetworkManager in its image. Try: tests/lab/lab down", file=sys.stderr)
        return 2
    # --kill-child: when it ends, NetworkManager and the bus go with it.
    alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    try:
        done = subprocess.run(
            [*alone, "sh", "-c", OUTSIDE, "network_manager", str(disk), layer, INSIDE],
            input=sys.stdin.buffer.read(),
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        print(f"NetworkManager does not come up within {TIMEOUT} s", file=sys.stderr)
        return 1
    sys.stderr.buffer.write(done.stderr)
    if done.returncode:
        return 1
    try:
        print(configuration(done.stdout.decode()), end="")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
