#!/bin/sh
# GL.iNet's server handler: PROGRAM - ACTION INTERFACE. What it does is gl_server.py.
exec /usr/libexec/wgserver-proto "$2" "$3"
