<?php
/*
 * The daemon's own part of `service wireguardd start`, in the background: it enables WireGuard's gateways and writes
 * config.xml whenever it gets to it, then sets routes and endpoints. In the lab it goes on and looks endpoints up again.
 */

require_once('config.inc');
$pid_path = double_path('/var/run/wireguardd.pid');
if (!double_is_folder()) {
	$file = fopen($pid_path, 'ce');
	flock($file, LOCK_EX);
	ftruncate($file, 0);
	fwrite($file, (string) getmypid());
	fflush($file);
}
require_once('wireguard/includes/wg.inc');
double_delay();
double_wg_set_gateways(true);
setup_gateways_monitor();
services_unbound_configure();
system_routing_configure();
wg_resolve_endpoints();
while (!double_is_folder()) {
	$interval = (int) config_get_path(DOUBLE_WG . '/config/0/resolve_interval', 300);
	sleep($interval ?: 3600);
	if ($interval) {
		wg_resolve_endpoints();
	}
}
