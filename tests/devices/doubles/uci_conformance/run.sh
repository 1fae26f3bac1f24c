#!/usr/bin/env bash
# run.sh PATH_TO_UCI > output
# Runs the command lines of cases.txt, in order, against a uci implementation and prints for each one the
# command ("$ ..."), its stdout (two blanks), its stderr ("  2> ") and its exit status ("  rc=N").
# Needs root or unprivileged user namespaces. The cases see a private /etc/config, /conf and /tmp: nothing of
# the machine is changed, and several runs may go on at once.
die() { echo "run.sh: $*" >&2; exit 2; }
if [ -z "$UCI_T_ROOT" ]; then
	[ $# -eq 1 ] || die "usage: run.sh PATH_TO_UCI"
	# shellcheck disable=SC2015 # die ends the script
	[ -f "$1" ] && [ -x "$1" ] || die "$1: not an executable file"
	[ -x /bin/dash ] || die "/bin/dash is needed"
	UCI_T_DIR=$(cd "$(dirname "$(readlink -f "$0")")" && pwd -P) || exit 2
	UCI_T_BIN=$(cd "$(dirname "$1")" && pwd -P)/$(basename "$1")
	UCI_T_ROOT=$(mktemp -d) || exit 2
	trap 'rmdir "$UCI_T_ROOT"' EXIT
	export UCI_T_DIR UCI_T_BIN UCI_T_ROOT
	ns=-m; [ "$(id -u)" = 0 ] || ns=-rm
	unshare $ns "$BASH" "$UCI_T_DIR/run.sh"
	exit
fi

# --- inside the private mount namespace: build a root whose /etc/config, /conf and /tmp/.uci are our own
set -e
umask 022
shopt -s dotglob nullglob
R=$UCI_T_ROOT
mount --make-rprivate / 2>/dev/null || true
mount -t tmpfs none "$R"
mkdir -p "$R/.t/bin" "$R/.t/etc" "$R/.t/tmp" "$R/etc/config" "$R/conf" "$R/tmp/.uci"
for e in /*; do
	n=${e##*/}
	case $n in etc|tmp|conf|.t) continue;; esac
	if [ -L "$e" ]; then cp -P "$e" "$R/$n"
	elif [ -d "$e" ]; then mkdir "$R/$n"; mount --rbind "$e" "$R/$n"
	else : > "$R/$n"; mount --bind "$e" "$R/$n"; fi
done
for d in etc tmp; do
	mount --rbind "/$d" "$R/.t/$d"
	for e in "/$d"/*; do
		case $e in /etc/config|/tmp/.uci|/tmp/stage*) continue;; esac
		ln -s "/.t/$d/${e##*/}" "$R/$d/${e##*/}"
	done
done
install -m 644 "$UCI_T_DIR"/cfg/* "$R/etc/config/"
install -m 644 "$UCI_T_DIR"/conf/* "$R/conf/"
install -m 644 "$UCI_T_DIR/cases.txt" "$R/.t/cases"
printf '#!/bin/bash\nexec -a uci %q "$@"\n' "$UCI_T_BIN" > "$R/.t/bin/uci"
chmod 755 "$R/.t/bin/uci"
export PATH="/.t/bin:$PATH" LANG=C LC_ALL=C
unset UCI_T_DIR UCI_T_BIN UCI_T_ROOT
# shellcheck disable=SC2016 # expanded inside
exec chroot "$R" "$BASH" -c '
cd /
while IFS= read -r line <&3; do
	case "$line" in ""|\#*) continue;; esac
	printf "\$ %s\n" "$line"
	timeout 20 /bin/dash -c "$line" > /.t/o 2> /.t/e < /dev/null 3<&-; rc=$?
	sed "s/^/  /" /.t/o; sed "s/^/  2> /" /.t/e; echo "  rc=$rc"
done 3< /.t/cases'
