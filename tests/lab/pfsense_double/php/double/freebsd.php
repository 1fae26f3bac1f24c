<?php
/*
 * Programs of FreeBSD that scripts of pfSense call: route, ifconfig, service wireguardd; in the lab also ping, on a
 * folder also wg.
 * Called as `php freebsd.php PROGRAM WORD…`.
 */

require_once('config.inc');
require_once('interfaces.inc');

function double_program($words) {
	$program = array_shift($words);
	return match ($program) {
		'route' => double_route_program(array_values(array_diff($words, ['-n', '-q', '-inet', '-inet6', '-net', '-host']))),
		'ifconfig' => double_ifconfig($words),
		'service' => double_service($words),
		'ping' => double_ping($words),
		'wg' => double_wg_program($words),
	};
}

function double_say($run) {
	[$status, $output] = $run;
	if ($output !== '') {
		fwrite(STDERR, "{$output}\n");
	}
	return $status;
}

function double_route_program($words) {
	[$verb, $destination, $gateway] = $words + ['', '', ''];
	$destination = $destination == 'default' || is_subnet($destination) ? $destination
	    : $destination . (is_ipaddrv6($destination) ? '/128' : '/32');
	$run = match ($verb) {
		'delete', 'del' => kernel_run("route delete {$destination}", 'delete_route', $destination),
		'add', 'change' => kernel_run("route {$verb} {$destination} {$gateway}", 'set_route', $destination, $gateway),
		default => [64, 'usage: route [-n46qv] command [[modifiers] args]'],
	};
	return double_say($run);
}

function double_ifconfig($words) {
	if ($words == ['-l']) {
		echo implode(' ', kernel()->interfaces()), "\n";
		return 0;
	}
	if ($words == []) {
		array_map(double_show_interface(...), kernel()->interfaces());
		return 0;
	}
	[$name, $verb, $value, $action] = $words + ['', '', '', ''];
	if (!does_interface_exist($name)) {
		return double_say([1, "ifconfig: interface {$name} does not exist"]);
	}
	$text = 'ifconfig ' . implode(' ', $words);
	$run = match ($verb) {
		'' => [0, ''],
		'destroy' => kernel_run($text, 'destroy', $name),
		'up', 'down' => kernel_run($text, 'up', $name, $verb == 'up'),
		'mtu' => kernel_run($text, 'mtu', $name, $value),
		'inet', 'inet6' => kernel_run($text, in_array($action, ['delete', '-alias']) ? 'delete_address' : 'add_address', $name, $value),
		default => [1, "ifconfig: {$verb}: bad value"],
	};
	if ($verb == '') {
		double_show_interface($name);
	}
	return double_say($run);
}

function double_show_interface($name) {
	echo "{$name}: flags=8043<", kernel()->is_up($name) ? 'UP,' : '', "RUNNING>\n";
	foreach (kernel()->addresses($name) as $one) {
		[$address, $length] = explode('/', $one);
		if (str_contains($address, ':')) {
			echo "\tinet6 {$address} prefixlen {$length}\n";
		} else {
			printf("\tinet %s netmask 0x%08x\n", $address, $length ? -1 << (32 - $length) & 0xffffffff : 0);
		}
	}
}

/** Debian's ping behind FreeBSD's flags: -t is how long all of it may take, -S the address that is sent from. */
function double_ping($words) {
	$flags = ['c' => '-c', 't' => '-w', 'S' => '-I'];
	$command = ['/usr/bin/ping', '-n'];
	while (str_starts_with($words[0] ?? '', '-')) {
		$word = array_shift($words);
		$value = strlen($word) > 2 ? substr($word, 2) : array_shift($words);
		if (!isset($flags[$word[1] ?? '']) || $value === null) {
			return double_say([64, "ping: illegal option -- {$word}"]);
		}
		array_push($command, $flags[$word[1]], $value);
	}
	if (count($words) != 1) {
		return double_say([64, 'usage: ping [-c count] [-S src_addr] [-t timeout] host']);
	}
	passthru(implode(' ', array_map(escapeshellarg(...), [...$command, '--', $words[0]])) . ' 2>&1', $status);
	return $status == 0 ? 0 : 2;
}

function double_service($words) {
	if (($words[0] ?? '') != 'wireguardd') {
		return double_say([1, ($words[0] ?? '') . ' does not exist in /etc/rc.d or the local startup directories']);
	}
	if (!double_is_folder()) {
		$script = '/usr/local/pkg/wireguard/includes/wg_service.inc';
		passthru('/usr/local/bin/php_wg -f ' . escapeshellarg($script) . ' ' . escapeshellarg($words[1] ?? ''), $status);
		return $status;
	}
	require_once('wireguard/includes/wg.inc');
	return match ($words[1] ?? '') {
		'start' => wg_service_fpm_start()['ret_code'],
		'stop' => wg_service_fpm_stop()['ret_code'],
		default => 1,
	};
}

/** `wg show IF dump`, `wg show all dump`, `wg show interfaces`, and the keys' commands, with os.json behind them. */
function double_wg_program($words) {
	$state = json_decode(file_get_contents(double_path('/var/double/os.json')), true)['interfaces'];
	$tunnels = array_filter($state, fn($interface) => isset($interface['peers']));
	[$verb, $name, $what] = $words + ['', '', ''];
	if ($verb == 'genkey' || $verb == 'genpsk') {
		echo base64_encode(random_bytes(32)), "\n";
	} elseif ($verb == 'pubkey') {
		echo double_public_key(trim(stream_get_contents(STDIN))), "\n";
	} elseif ($verb == 'syncconf') {
		$shown = str_replace(double_path(''), '', $what);
		return double_say(kernel_run("wg syncconf {$name} {$shown}", 'sync', $name, $what));
	} elseif ($words == ['show', 'interfaces']) {
		echo implode(' ', array_keys($tunnels)), "\n";
	} elseif ($verb == 'show' && $what == 'dump' && $name == 'all') {
		foreach ($tunnels as $each => $interface) {
			double_dump_tunnel($interface, "{$each}\t");
		}
	} elseif ($verb == 'show' && $what == 'dump') {
		if (!isset($tunnels[$name])) {
			return double_say([1, "Unable to access interface: No such device"]);
		}
		double_dump_tunnel($tunnels[$name], '');
	} else {
		return double_say([1, 'the double knows: wg show IF|all dump, show interfaces, syncconf, genkey, genpsk, pubkey']);
	}
	return 0;
}

/** The private key is not kept, so its column says (hidden); so does that of a preshared one. */
function double_dump_tunnel($interface, $first) {
	echo $first, implode("\t", ['(hidden)', $interface['public_key'] ?? '(none)', $interface['listen_port'] ?? 0, 'off']), "\n";
	foreach ($interface['peers'] as $key => $peer) {
		echo $first, implode("\t", [
			$key, $peer['preshared_key'] ? '(hidden)' : '(none)', $peer['endpoint'] ?? '(none)',
			implode(',', $peer['allowed_ips']) ?: '(none)', $peer['latest_handshake'] ?? 0, $peer['rx'] ?? 0,
			$peer['tx'] ?? 0, ($peer['persistent_keepalive'] ?? 0) ?: 'off',
		]), "\n";
	}
}

exit(double_program(array_slice($argv, 1)));
