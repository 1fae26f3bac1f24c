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

from ansible_collections.homelab.fabric.plugins.module_utils.pfsense_php_apply import APPLY
from ansible_collections.homelab.fabric.plugins.module_utils.pfsense_php_edit import EDIT

START, END = "@@homelab.fabric@@", "@@end@@"


def script(request: Mapping[str, Any]) -> str:
    """The whole program for one request: ``{"do": "read", "name": …}``, or ``check`` or ``apply`` (see hf_apply)."""
    encoded = base64.b64encode(json.dumps(request).encode("utf-8")).decode("ascii")
    return f"<?php\n$hf_request = json_decode(base64_decode('{encoded}'), true);\n{_READ}{EDIT}{APPLY}"


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
_READ = r"""
// No arguments: with one, wg.inc would take this for its service.
foreach (['config.inc', 'util.inc', 'interfaces.inc', 'filter.inc', 'gwlb.inc', 'system.inc'] as $hf_file) {
    require_once($hf_file);
}
if (stream_resolve_include_path('wireguard/includes/wg.inc') === false) {
    hf_answer(['failed' => 'no package']);
}
require_once('wireguard/includes/wg.inc');
hf_answer(match ($hf_request['do']) {
    'read' => hf_read($hf_request['name']),
    'check' => hf_check_first($hf_request['phases']),
    'apply' => hf_apply($hf_request),
});

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
        'disabled', 'floating', 'statetype', 'gateway'];
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
        'gateway_groups' => hf_list('gateways/gateway_group'),
        'dns_gateways' => array_values(array_filter(config_get_path('system', []),
            fn($key) => preg_match('/^dns\d+gw$/', $key), ARRAY_FILTER_USE_KEY)),
        'routes' => hf_list('staticroutes/route'),
        'rules' => array_map(fn($rule) => hf_only($rule, $rule_keys), hf_list('filter/rule')),
        'port_forwards' => hf_list('nat/rule'),
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
            $live[$fields[0]] = ['up' => hf_is_up($fields[0]), 'public_key' => $fields[2],
                'listen_port' => $fields[3], 'peers' => []];
        } elseif (count($fields) == 9) {
            $live[$fields[0]]['peers'][$fields[1]] = ['preshared_key' => $fields[2], 'endpoint' => $fields[3],
                'allowed_ips' => $fields[4], 'handshake' => (int) $fields[5], 'received' => (int) $fields[6],
                'sent' => (int) $fields[7], 'keepalive' => $fields[8]];
        }
    }
    foreach ($live as $name => $interface) {
        $live[$name]['peers'] = (object) $interface['peers'];
    }
    return $live;
}

function hf_is_up($name) {
    exec('ifconfig ' . escapeshellarg($name) . ' 2>/dev/null', $lines);
    return preg_match('/flags=[0-9a-f]+<([A-Z0-9_]+,)*UP[,>]/', $lines[0] ?? '') === 1;
}
"""
