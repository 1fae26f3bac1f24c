# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The PHP script that reads and writes pfSense's configuration, on pfSense, with pfSense's own functions.

It is the only writer. It goes to PHP's standard input, the request inside it as base64, so that nothing of it stands
in a process list or a file; the answer is JSON between two delimiters, because pfSense's code prints what it likes.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Mapping

START, END = "@@homelab.fabric@@", "@@end@@"


def script(request: Mapping[str, Any]) -> str:
    """The whole program for one request: ``{"do": "read", "name": …}`` or ``{"do": "apply", …}`` (see hf_apply)."""
    encoded = base64.b64encode(json.dumps(request).encode("utf-8")).decode("ascii")
    return f"<?php\n$hf_request = json_decode(base64_decode('{encoded}'), true);\n{_PROGRAM}"


def answer(output: str) -> dict[str, Any] | None:
    """What the script answered; None if it did not get that far. Raises nothing, and shows nothing: it has keys."""
    text = output.rpartition(START)[2].partition(END)
    try:
        found = json.loads(text[0]) if text[1] else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


# Why it is the way it is: config is read anew before each phase, since the package and its daemon write, too. Nothing
# is asked of the package between a change in memory and write_config(), as the package's functions throw it away.
_PROGRAM = r"""
// No arguments: with one, wg.inc would take this for its service.
foreach (['config.inc', 'util.inc', 'interfaces.inc', 'filter.inc', 'gwlb.inc', 'system.inc'] as $hf_file) {
	require_once($hf_file);
}
if (stream_resolve_include_path('wireguard/includes/wg.inc') === false) {
	hf_answer(['failed' => 'no package']);
}
require_once('wireguard/includes/wg.inc');
hf_answer($hf_request['do'] == 'read' ? hf_read($hf_request['name']) : hf_apply($hf_request));

function hf_answer($answer) {
	echo "@@homelab.fabric@@" . json_encode($answer, JSON_INVALID_UTF8_SUBSTITUTE) . "@@end@@\n";
	exit(0);
}

function hf_reload() {
	global $config;
	if (function_exists('config_read_file')) {
		config_read_file(true);
	} else {
		$config = parse_config(true);
	}
}

/** A list of the configuration, whatever stands where it is empty. */
function hf_list($path) {
	$list = config_get_path($path, []);
	return is_array($list) ? array_values(array_filter($list, 'is_array')) : [];
}

function hf_only($item, $keys) {
	return array_intersect_key($item, array_flip($keys));
}

// -- reading

function hf_read($name) {
	hf_reload();
	$interfaces = [];
	foreach (config_get_path('interfaces', []) as $key => $item) {
		$interfaces[$key] = hf_only($item, ['descr', 'if', 'enable', 'mtu', 'mss', 'ipaddr', 'subnet', 'ipaddrv6',
			'subnetv6', 'gateway', 'gatewayv6']);
	}
	$tunnels = [];
	foreach (hf_list('installedpackages/wireguard/tunnels/item') as $item) {
		$shown = hf_only($item, ['name', 'enabled', 'descr', 'listenport', 'publickey', 'mtu', 'addresses']);
		if ($item['name'] == $name || $name == '') {
			// Not wg_gen_publickey(): it shows the key in the process list.
			$shown['derived'] = hf_public_key($item['privatekey'] ?? '');
		}
		$tunnels[] = $shown;
	}
	$rule_keys = ['tracker', 'type', 'interface', 'ipprotocol', 'protocol', 'source', 'destination', 'descr',
		'disabled', 'floating', 'statetype'];
	return [
		'version' => config_get_path('version', ''),
		'service' => wg_is_service_running(),
		'settings' => config_get_path('installedpackages/wireguard/config/0', []) ?: (object) [],
		'unfinished' => array_map(fn($file) => substr(basename($file), strlen('homelab.fabric.')),
			glob(hf_mark('*'))),
		'tunnels' => $tunnels,
		'peers' => hf_list('installedpackages/wireguard/peers/item'),
		'interfaces' => (object) $interfaces,
		'groups' => hf_list('ifgroups/ifgroupentry'),
		'bridges' => hf_list('bridges/bridged'),
		'aliases' => array_column(hf_list('aliases/alias'), 'name'),
		'gateways' => hf_list('gateways/gateway_item'),
		'default_gateways' => ['inet' => config_get_path('gateways/defaultgw4', ''),
			'inet6' => config_get_path('gateways/defaultgw6', '')],
		'routes' => hf_list('staticroutes/route'),
		'rules' => array_map(fn($rule) => hf_only($rule, $rule_keys), hf_list('filter/rule')),
		'nat_mode' => config_get_path('nat/outbound/mode', 'automatic'),
		'nat_rules' => hf_list('nat/outbound/rule'),
		'live' => (object) hf_live(),
	];
}

function hf_public_key($private) {
	$pipes = [];
	$process = proc_open(['wg', 'pubkey'], [['pipe', 'r'], ['pipe', 'w'], ['file', '/dev/null', 'w']], $pipes);
	fwrite($pipes[0], "{$private}\n");
	fclose($pipes[0]);
	$public = trim(stream_get_contents($pipes[1]));
	proc_close($process);
	return $public;
}

/** Every WireGuard interface that runs, by name. Its private key stays here. */
function hf_live() {
	$live = [];
	exec('wg show all dump 2>/dev/null', $lines);
	foreach ($lines as $line) {
		$fields = explode("\t", $line);
		if (count($fields) == 5) {
			$live[$fields[0]] = ['public_key' => $fields[2], 'listen_port' => $fields[3], 'peers' => []];
		} elseif (count($fields) == 9) {
			$live[$fields[0]]['peers'][$fields[1]] = ['preshared_key' => $fields[2], 'endpoint' => $fields[3],
				'allowed_ips' => $fields[4], 'handshake' => (int) $fields[5], 'received' => (int) $fields[6],
				'sent' => (int) $fields[7]];
		}
	}
	foreach ($live as $name => $interface) {
		$live[$name]['peers'] = (object) $interface['peers'];
	}
	return $live;
}

// -- writing

/** What was begun and not finished; gone at the next boot, when pfSense applies its configuration by itself. */
function hf_mark($name) {
	global $g;
	return ($g['varrun_path'] ?? '/var/run') . "/homelab.fabric.{$name}";
}

/**
 * name, and phases in order, each with: edits, message (for the history), and what to apply: sync (none, peers, all),
 * interface (optN or empty), down (optN that goes), routes (bool), gone (prefixes), filter (bool).
 */
function hf_apply($request) {
	umask(077);
	$lock = fopen(hf_mark('lock'), 'c');
	flock($lock, LOCK_EX);
	hf_reload();
	$refused = hf_refused($request['phases'][0]['edits']);
	if ($refused) {
		return ['refused' => $refused];
	}
	$before = hf_sections($request['phases']);
	$started = false;
	$mark = hf_mark($request['name']);
	// What a run that was cut short still had to take out of the routing table.
	$gone = is_file($mark) ? (array) json_decode(file_get_contents($mark), true) : [];
	foreach ($request['phases'] as $phase) {
		$gone = array_values(array_unique(array_merge($gone, $phase['gone'])));
	}
	file_put_contents($mark, json_encode($gone));
	try {
		foreach ($request['phases'] as $number => $phase) {
			if ($phase['edits']) {
				hf_reload();
				$refused = $number ? hf_refused($phase['edits']) : [];
				if ($refused) {
					throw new Exception(implode(' ', $refused));
				}
				hf_reload();
				if ($phase['down']) {
					interface_bring_down($phase['down'], true);
				}
				hf_write($phase['edits'], $phase['message']);
			}
			$started = hf_do($request['name'], $phase, $gone) || $started;
		}
		// The daemon writes what it read at its start some time after that: what got lost is written again.
		for ($look = $started ? 10 : 1; $look > 0; $look--) {
			$started && usleep(200000);
			hf_reload();
			foreach ($request['phases'] as $phase) {
				if (hf_edit_all($phase['edits'], false)) {
					hf_reload();
					hf_write($phase['edits'], $phase['message']);
					hf_do($request['name'], $phase, $gone);
				}
			}
		}
	} catch (Throwable $error) {
		return ['failed' => $error->getMessage()] + hf_restore($request, $before);
	}
	unlink($mark);
	$public = '';
	foreach (hf_list('installedpackages/wireguard/tunnels/item') as $item) {
		$public = $item['name'] == $request['name'] ? $item['publickey'] : $public;
	}
	return ['public_key' => $public, 'live' => (object) hf_live()];
}

/** What the package's own validators say, which compare with what is saved. */
function hf_refused($edits) {
	$messages = [];
	foreach ($edits as $edit) {
		if (!isset($edit['check'])) {
			continue;
		}
		$list = hf_list($edit['at']);
		$index = hf_find($list, $edit['find']);
		$item = hf_merged($index === null ? [] : $list[$index], $edit['set'] ?? []);
		if ($edit['set'] === null) {
			$said = $index === null ? [] : wg_validate_tunnel_delete($item);
		} elseif ($edit['check'] == 'tunnel') {
			// Any good key will do here; the one that stays is made when it is written.
			$item['privatekey'] = ($item['privatekey'] ?? '') == '@new' ? hf_new_key() : $item['privatekey'];
			$said = wg_validate_tunnel_post($item, $index ?? count($list));
		} else {
			$said = wg_validate_peer_post($item, $index ?? count($list));
		}
		$secrets = array_filter([$item['presharedkey'] ?? '', $item['privatekey'] ?? '']);
		$messages = array_merge($messages, str_replace($secrets, '(redacted)', array_values((array) $said)));
	}
	return $messages;
}

/** 32 random bytes, clamped as wg(8) does it. */
function hf_new_key() {
	$bytes = random_bytes(32);
	$bytes[0] = chr(ord($bytes[0]) & 248);
	$bytes[31] = chr((ord($bytes[31]) & 127) | 64);
	return base64_encode($bytes);
}

function hf_find($list, $wanted) {
	foreach ($list as $index => $item) {
		$same = true;
		foreach ($wanted as $key => $value) {
			$same = $same && isset($item[$key]) && (string) $item[$key] === (string) $value;
		}
		if ($same) {
			return $index;
		}
	}
	return null;
}

/** Fields of $set over those of $item; one that is null goes. */
function hf_merged($item, $set) {
	return array_filter(array_merge($item, $set), fn($value) => $value !== null);
}

function hf_write($edits, $message) {
	if (!hf_edit_all($edits, true)) {
		return;
	}
	$written = write_config($message);
	if ($written === false || $written === -1) {
		throw new Exception('write_config() could not write the configuration');
	}
}

/** Bring the edits into the configuration in memory. Whether there was anything to do. */
function hf_edit_all($edits, $stamp) {
	$changed = false;
	foreach ($edits as $edit) {
		$changed = hf_edit($edit, $stamp) || $changed;
	}
	return $changed;
}

function hf_edit($edit, $stamp) {
	if (!isset($edit['find'])) {
		return hf_edit_object($edit);
	}
	$list = hf_list($edit['at']);
	$index = hf_find($list, $edit['find']);
	if ($edit['set'] === null) {
		if ($index === null) {
			return false;
		}
		array_splice($list, $index, 1);
		config_set_path($edit['at'], $list);
		hf_shift_separators($edit, $list, $index, -1);
		return true;
	}
	$old = $index === null ? [] : $list[$index];
	$new = hf_merged($old, $edit['set']);
	if (($new['privatekey'] ?? '') == '@new') {
		$new['privatekey'] = $old['privatekey'] ?? hf_new_key();
	}
	if (($new['publickey'] ?? '') == '@own') {
		$new['publickey'] = hf_public_key($new['privatekey']);
	}
	if ($index !== null && $new == $old) {
		return false;
	}
	if ($stamp && in_array($edit['at'], ['filter/rule', 'nat/outbound/rule'])) {
		$now = ['time' => time(), 'username' => 'homelab.fabric'];
		$new = array_merge(['created' => $now], $new, ['updated' => $now]);
	}
	if ($index === null) {
		$index = $edit['at'] == 'filter/rule' ? hf_rule_place($list, $edit) : count($list);
		array_splice($list, $index, 0, [$new]);
		config_set_path($edit['at'], $list);
		hf_shift_separators($edit, $list, $index, 1);
	} else {
		$list[$index] = $new;
		config_set_path($edit['at'], $list);
	}
	return true;
}

function hf_edit_object($edit) {
	$old = config_get_path($edit['at']);
	if (preg_match('~^interfaces/(opt\d+)$~', $edit['at'], $parts)) {
		if (is_array($old) && ($old['if'] ?? '') != $edit['if']) {
			throw new Exception("{$parts[1]} was given to {$old['if']} meanwhile; run again");
		}
		if ($edit['set'] === null) {
			foreach (['interfaces', 'dhcpd', 'dhcpdv6'] as $section) {
				config_del_path("{$section}/{$parts[1]}");
			}
			return $old !== null;
		}
	}
	if (!is_array($edit['set'])) {
		config_set_path($edit['at'], $edit['set']);
		return $old !== $edit['set'];
	}
	$new = hf_merged(is_array($old) ? $old : [], $edit['set']);
	config_set_path($edit['at'], $new);
	if (str_starts_with($edit['at'], 'interfaces/')) {
		$all = config_get_path('interfaces');
		uksort($all, fn($one, $other) => hf_rank($one) <=> hf_rank($other) ?: strnatcmp($one, $other));
		config_set_path('interfaces', $all);
	}
	return $new != $old;
}

/** wan, lan, then the others: the order of interfaces, and of their rules after the floating ones. */
function hf_rank($interface) {
	return ['wan' => 0, 'lan' => 1][$interface] ?? 2;
}

function hf_place($rule) {
	return isset($rule['floating']) ? '' : ($rule['interface'] ?? '');
}

/** Before a rule that would refuse it (edit's `ahead_of`, a tracker), else at the end of its interface's rules. */
function hf_rule_place($rules, $edit) {
	$mine = $edit['set']['interface'];
	$last = null;
	foreach ($rules as $index => $rule) {
		if (hf_place($rule) === $mine) {
			if (($edit['ahead_of'] ?? '') !== '' && ($rule['tracker'] ?? '') == $edit['ahead_of']) {
				return $index;
			}
			$last = $index + 1;
		}
	}
	if ($last !== null) {
		return $last;
	}
	foreach ($rules as $index => $rule) {
		$other = hf_place($rule);
		$later = hf_rank($other) <=> hf_rank($mine) ?: strnatcmp($other, $mine);
		if ($other !== '' && $later > 0) {
			return $index;
		}
	}
	return count($rules);
}

/** A separator stands before the rule with its number; those behind a rule that comes or goes move along. */
function hf_shift_separators($edit, $rules, $index, $by) {
	if ($edit['at'] != 'filter/rule') {
		return;
	}
	$mine = $edit['interface'];
	$place = count(array_filter(array_slice($rules, 0, $index), fn($rule) => hf_place($rule) === $mine));
	$behind = count(array_filter(array_slice($rules, $index), fn($rule) => hf_place($rule) === $mine));
	if ($by > 0 && $behind == 1) {
		return; // it is the last of them
	}
	$path = 'filter/separator/' . strtolower($mine);
	foreach (config_get_path($path, []) ?: [] as $key => $separator) {
		$row = is_array($separator['row'] ?? '') ? $separator['row'][0] : ($separator['row'] ?? '');
		$number = (int) substr($row, 2);
		if (str_starts_with($row, 'fr') && $number > $place) {
			config_set_path("{$path}/{$key}/row", is_array($separator['row']) ? ['fr' . ($number + $by)] : 'fr' . ($number + $by));
		}
	}
}

// -- applying

/** Make what is written run. Whether the service had to be started. */
function hf_do($name, $phase, $gone) {
	$started = false;
	if ($phase['sync'] != 'none') {
		$running = wg_is_service_running();
		wg_toggle_wireguard();
		$there = array_column(hf_list('installedpackages/wireguard/tunnels/item'), 'name');
		if (wg_is_service_running()) {
			$started = !$running;
			hf_sync($name, $started ? 'start' : $phase['sync'], in_array($name, $there));
		} elseif (in_array($name, $there)) {
			throw new Exception('the WireGuard service does not run after it was started');
		} else {
			wg_resync();
		}
		hf_check($name);
	}
	if ($phase['interface']) {
		interface_configure($phase['interface'], true);
	}
	if ($phase['routes']) {
		// Routes that left or changed stay in the routing table until they are deleted by name.
		foreach ($gone as $prefix) {
			$family = strpos($prefix, ':') === false ? '-inet' : '-inet6';
			mwexec('/sbin/route delete ' . $family . ' ' . escapeshellarg($prefix), true);
		}
		setup_gateways_monitor();
		system_routing_configure();
		system_resolvconf_generate(true);
		send_event('service reload dyndnsall');
	}
	if ($phase['filter']) {
		filter_configure();
	}
	return $started;
}

function hf_sync($name, $how, $configured) {
	global $wgg;
	$live = hf_live();
	if ($how == 'peers' && isset($live[$name]) && $configured) {
		// wg_tunnel_sync() would take the interface's addresses away for a moment, and with them everybody's packets.
		wg_resync();
		$conf = ($wgg['conf_path'] ?? '/usr/local/etc/wireguard') . "/{$name}.conf";
		exec('wg syncconf ' . escapeshellarg($name) . ' ' . escapeshellarg($conf) . ' 2>/dev/null', $out, $status);
		wg_resolve_endpoints();
		if ($status) {
			throw new Exception("wg syncconf {$name} ended with status {$status}");
		}
		return;
	}
	try {
		if ($how == 'start') {
			// The start itself has built every tunnel, at the price of a dozen revisions.
			hf_check($name);
			wg_resolve_endpoints();
			return;
		}
	} catch (Exception $error) {
		// It has not built this one.
	}
	$result = wg_tunnel_sync([$name], true, true);
	if (!empty($result['ret_code'])) {
		throw new Exception("wg_tunnel_sync() ended with code {$result['ret_code']}");
	}
}

/** Return codes say little: whether what runs is what is configured. */
function hf_check($name) {
	$live = hf_live();
	$tunnel = null;
	foreach (hf_list('installedpackages/wireguard/tunnels/item') as $item) {
		$tunnel = $item['name'] == $name ? $item : $tunnel;
	}
	if (!$tunnel || !isset($live[$name])) {
		if ($tunnel || isset($live[$name])) {
			throw new Exception($tunnel ? "{$name} is not up" : "{$name} is still up");
		}
		return;
	}
	if ($live[$name]['listen_port'] != $tunnel['listenport']) {
		throw new Exception("{$name} does not listen on {$tunnel['listenport']}, which may be in use");
	}
	$running = (array) $live[$name]['peers'];
	foreach (hf_list('installedpackages/wireguard/peers/item') as $peer) {
		if (($peer['tun'] ?? '') != $name || ($peer['enabled'] ?? '') != 'yes') {
			continue;
		}
		$key = $peer['publickey'];
		if (!isset($running[$key]) || hf_prefixes($peer) != hf_live_prefixes($running[$key])) {
			throw new Exception("{$name} does not run with the peer {$key} as it was written");
		}
		unset($running[$key]);
	}
	if ($running) {
		throw new Exception("{$name} still runs with the peer " . array_key_first($running));
	}
}

function hf_prefixes($peer) {
	$rows = is_array($peer['allowedips'] ?? '') ? ($peer['allowedips']['row'] ?? []) : [];
	return hf_sorted(array_map(fn($row) => "{$row['address']}/{$row['mask']}", is_array($rows) ? $rows : []));
}

function hf_live_prefixes($peer) {
	return $peer['allowed_ips'] == '(none)' ? [] : hf_sorted(explode(',', $peer['allowed_ips']));
}

function hf_sorted($prefixes) {
	$found = [];
	foreach ($prefixes as $prefix) {
		[$address, $length] = explode('/', $prefix);
		$found[] = bin2hex(inet_pton($address)) . "/{$length}";
	}
	sort($found);
	return $found;
}

// -- taking it back

/** The parts of the configuration that the phases are about, as they are now. */
function hf_sections($phases) {
	$before = [];
	foreach ($phases as $phase) {
		foreach ($phase['edits'] as $edit) {
			$path = $edit['at'] == 'filter/rule' ? 'filter' : $edit['at'];
			$before[$path] = config_get_path($path);
		}
	}
	return $before;
}

/** Write them back and apply that; the answer says whether it worked. */
function hf_restore($request, $before) {
	try {
		hf_reload();
		$changed = false;
		$interface = '';
		foreach ($before as $path => $value) {
			$changed = $changed || config_get_path($path) != $value;
			$value === null ? config_del_path($path) : config_set_path($path, $value);
			$interface = str_starts_with($path, 'interfaces/') && $value !== null ? substr($path, 11) : $interface;
		}
		if ($changed && in_array(write_config("homelab.fabric: {$request['name']}: taken back, as it did not work"), [false, -1], true)) {
			return ['restored' => false];
		}
		$gone = [];
		foreach ($request['phases'] as $phase) {
			foreach ($phase['edits'] as $edit) {
				if ($edit['at'] == 'staticroutes/route') {
					$gone[] = $edit['find']['network'];
				}
			}
		}
		$all = ['sync' => 'all', 'interface' => $interface, 'routes' => true, 'filter' => true];
		hf_do($request['name'], $all, $gone);
		unlink(hf_mark($request['name']));
		return ['restored' => true];
	} catch (Throwable $error) {
		return ['restored' => false];
	}
}
"""
