"""OpenWrt's `uci` for the lab's routers to come. It agrees with all recorded cases of the real one."""
