#!/bin/sh
# The handler that netifd finds at its start: PROGRAM - ACTION INTERFACE. What it does is wireguard_proto.py.
# shellcheck disable=SC2034 # netifd looks for the next line, as people do; older releases lack it
renew_handler=1
exec /usr/libexec/wireguard-proto "$2" "$3" "$0"
