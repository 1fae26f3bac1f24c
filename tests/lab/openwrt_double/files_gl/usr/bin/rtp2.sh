#!/bin/sh
# The firmware's way from route_policy to interfaces, firewall, rules and marks: gl_rtp2.py.
exec /usr/libexec/rtp2 "$@"
