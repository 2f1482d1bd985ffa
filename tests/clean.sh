#!/bin/sh
# Removes what a killed test run may have left behind: called by `make clean`.
#
# Test directories carry the prefix below and lie on the disk's file system. Loop mounts inside them
# are undone first. A directory whose test still runs (its name ends in PID-NUMBER) is left alone.
# Nothing else is touched, and no process is killed.
set -eu
base=${RAMGRID_TEST_DIR:-/var/tmp}
for dir in "$base"/ramgrid-test-*; do
    [ -d "$dir" ] || continue
    pid=${dir%-*}
    [ ! -d "/proc/${pid##*-}" ] || continue
    awk -v dir="$dir/" 'index($2, dir) == 1 { print $2 }' /proc/mounts | while read -r mount; do
        umount "$mount" || true
    done
    rm -rf "$dir"
done
# Network namespaces of tests that pull cables: named after processes that are gone.
for space in $(ip netns list 2>/dev/null | awk '/^ramgrid[0-9]+/ { print $1 }'); do
    [ -n "$(ip netns pids "$space" 2>/dev/null)" ] || ip netns del "$space" || true
done
