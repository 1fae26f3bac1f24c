<?php
/*
 * The daemon's own part of `service wireguardd start`, in the background: it enables WireGuard's gateways and writes
 * config.xml as it was at its start, whenever it gets to it, then sets routes and endpoints. In the lab it goes on and
 * looks endpoints up again.
 */

require_once('config.inc');
require_once('wireguard/includes/wg.inc');
$file = fopen(double_path('/var/run/wireguardd.pid'), 'ce');
if (!double_is_folder()) {
	flock($file, LOCK_EX);
}
ftruncate($file, 0);
fwrite($file, (string) getmypid());
fflush($file);
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
