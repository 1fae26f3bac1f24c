<?php
/* Power on: interfaces, routes, rules, then what config.xml wants run early, `service wireguardd start`. */

require_once(__DIR__ . '/world.inc');
foreach (['/tmp/config.cache', '/var/run/wireguardd.pid', '/var/run/modules', '/var/run/groups.*'] as $old) {
	array_map(unlink(...), glob(double_path($old)));
}
require_once('config.inc');
require_once('functions.inc');
foreach (get_configured_interface_list() as $name) {
	interface_configure($name);
}
system_routing_configure();
filter_configure_sync();
foreach ((array) config_get_path('system/earlyshellcmd', []) as $command) {
	mwexec($command); // refused while WireGuard is switched off
}
