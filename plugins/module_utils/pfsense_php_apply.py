# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of pfsense_php.py's script that carries a request out: phases, what makes them run, and taking them back."""

from __future__ import annotations

APPLY = r"""
// -- carrying out

/** What was begun and not finished; gone at the next boot, when pfSense applies its configuration by itself. */
function hf_mark($name) {
    global $g;
    return ($g['varrun_path'] ?? '/var/run') . "/homelab.fabric.{$name}";
}

/** Work on a file of ours, for root alone; what pfSense writes and starts has the umask that it always had. */
function hf_own($work) {
    $mask = umask(077);
    try {
        return $work();
    } finally {
        umask($mask);
    }
}

/** Keep other runs out while the result lives; null if one is at work for longer than $seconds. */
function hf_lock($seconds) {
    // "e", close on exec: a daemon that pfSense starts would inherit it, and keep it for life.
    $lock = hf_own(fn() => fopen(hf_mark('lock'), 'ce'));
    for ($until = microtime(true) + $seconds; !flock($lock, LOCK_EX | LOCK_NB); usleep(100000)) {
        if (microtime(true) > $until) {
            return null;
        }
    }
    return $lock;
}

/**
 * name, wait and patience (seconds), and phases in order, each with: edits, message (for the history), and what to
 * apply: sync (none, peers, all), interface (optN or empty), down (optN that goes), routes (bool), gone (prefixes),
 * filter.
 */
function hf_apply($request) {
    $lock = hf_lock($request['wait']);
    if (!$lock) {
        return ['failed' => 'locked'];
    }
    $first = hf_check_first($request['phases']);
    if ($first['refused']) {
        return $first;
    }
    $before = hf_sections($request['phases']);
    $started = false;
    $mark = hf_mark($request['name']);
    // What a run that was cut short still had to take out of the routing table.
    $gone = is_file($mark) ? (array) json_decode(file_get_contents($mark), true) : [];
    foreach ($request['phases'] as $phase) {
        $gone = array_values(array_unique(array_merge($gone, $phase['gone'])));
    }
    hf_own(fn() => file_put_contents($mark, json_encode($gone)));
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
        for ($look = $started ? 5 * $request['patience'] : 1; $look > 0; $look--) {
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

/** What would be refused before anything is written; later phases lean on what the first one brings. */
function hf_check_first($phases) {
    hf_reload();
    return ['refused' => hf_refused($phases[0]['edits'])];
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
    if (!$live[$name]['up']) {
        throw new Exception("{$name} is down");
    }
    if ($live[$name]['listen_port'] != $tunnel['listenport']) {
        throw new Exception("{$name} does not listen on {$tunnel['listenport']}, which may be in use");
    }
    $wanted = hf_wanted_peers($name);
    $running = array_map('hf_live_prefixes', (array) $live[$name]['peers']);
    foreach ($wanted + $running as $key => $prefixes) {
        if (($wanted[$key] ?? null) != ($running[$key] ?? null)) {
            throw new Exception(isset($wanted[$key]) ? "{$name} does not run with the peer {$key} as it was written"
                : "{$name} still runs with the peer {$key}");
        }
    }
}

/** Allowed IPs by public key, sorted; one that two peers have is the last one's, as wg(8) has it. */
function hf_wanted_peers($name) {
    $wanted = $owner = [];
    foreach (hf_list('installedpackages/wireguard/peers/item') as $peer) {
        if (($peer['tun'] ?? '') == $name && ($peer['enabled'] ?? '') == 'yes') {
            $wanted[$peer['publickey']] = [];
            $rows = is_array($peer['allowedips'] ?? '') ? ($peer['allowedips']['row'] ?? []) : [];
            foreach (is_array($rows) ? $rows : [] as $row) {
                $owner[gen_subnet($row['address'], $row['mask']) . "/{$row['mask']}"] = $peer['publickey'];
            }
        }
    }
    foreach ($owner as $prefix => $key) {
        $wanted[$key][] = $prefix;
    }
    return array_map('hf_sorted', $wanted);
}

function hf_live_prefixes($peer) {
    return $peer['allowed_ips'] == '(none)' ? [] : hf_sorted(explode(',', $peer['allowed_ips']));
}

/** In a spelling of one's own, since IPv6 has several. */
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
            $paths = [$edit['at'] == 'filter/rule' ? 'filter' : $edit['at']];
            if (preg_match('~^interfaces/(.+)$~', $edit['at'], $parts)) {
                $paths = hf_of_interface($parts[1]);
            }
            foreach ($paths as $path) {
                $before[$path] = config_get_path($path);
            }
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
        hf_sort_interfaces();
        $message = "homelab.fabric: {$request['name']}: taken back, as it did not work";
        if ($changed && in_array(write_config($message), [false, -1], true)) {
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
