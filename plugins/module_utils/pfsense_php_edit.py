# Copyright (c) 2026, homelab.fabric contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of pfsense_php.py's script that edits the configuration in memory, and writes it."""

from __future__ import annotations

EDIT = r"""
// -- editing

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

/** Where the edit's object is: under its present name, or under the one that the edit gives it if that is done. */
function hf_place_in($list, $edit) {
    $index = hf_find($list, $edit['find']);
    if ($index === null && $edit['set'] !== null) {
        $index = hf_find($list, array_merge($edit['find'], array_intersect_key($edit['set'], $edit['find'])));
        if ($index === null && !$edit['new']) {
            throw new Exception("what was to be changed in {$edit['at']} is gone meanwhile; run again");
        }
    }
    return $index;
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
    $index = hf_place_in($list, $edit);
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

/** Where the configuration has what goes with an interface. */
function hf_of_interface($key) {
    return ["interfaces/{$key}", "dhcpd/{$key}", "dhcpdv6/{$key}"];
}

function hf_edit_object($edit) {
    $old = config_get_path($edit['at']);
    if (preg_match('~^interfaces/(opt\d+)$~', $edit['at'], $parts)) {
        if (is_array($old) && ($old['if'] ?? '') != $edit['if']) {
            throw new Exception("{$parts[1]} was given to {$old['if']} meanwhile; run again");
        }
        if ($edit['set'] === null) {
            array_map('config_del_path', hf_of_interface($parts[1]));
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
        hf_sort_interfaces();
    }
    return $new != $old;
}

function hf_sort_interfaces() {
    $all = config_get_path('interfaces');
    uksort($all, fn($one, $other) => hf_rank($one) <=> hf_rank($other) ?: strnatcmp($one, $other));
    config_set_path('interfaces', $all);
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
            $moved = 'fr' . ($number + $by);
            config_set_path("{$path}/{$key}/row", is_array($separator['row']) ? [$moved] : $moved);
        }
    }
}
"""
