#!/bin/sh
# GL.iNet's client handler: PROGRAM - ACTION INTERFACE. What it does is gl_proto.py.
exec /usr/libexec/wgclient-proto "$2" "$3"
