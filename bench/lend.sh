#!/bin/sh
# What `memnode --memory auto` costs a program beside it: both in one memory cgroup (root, either
# version) of LIMIT_MIB (default 1024). The program walks over WORK_MIB (default 700) of its own
# memory, ROUNDS (default 12) times, alone and beside a node that was full before it came.
# Prints seconds per round for each, and how long it took until the node had given back.
set -eu
memnode=${1:?usage: bench/lend.sh PATH-OF-MEMNODE}
limit_mib=${LIMIT_MIB:-1024} work_mib=${WORK_MIB:-700} rounds=${ROUNDS:-12} port=${PORT:-7549}
root=/sys/fs/cgroup
limit=memory.max
[ -d $root/memory ] && root=$root/memory && limit=memory.limit_in_bytes
group=$root/memnode-lend-$$
mkdir "$group"
node=""
trap '[ -z "$node" ] || kill "$node"; wait; rmdir "$group"' EXIT INT TERM
echo $((limit_mib << 20)) >"$group/$limit"

work() {
    sh -c 'echo $$ >"$1/cgroup.procs"; exec python3 - "$2" "$3" "$4" <<END
import mmap, sys, time
name, mib, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
start = time.monotonic()
memory = mmap.mmap(-1, mib << 20)
page = b"x" * 4096
for at in range(0, mib << 20, 4096):
    memory[at:at + 4096] = page
first = time.monotonic() - start
times = []
for _ in range(rounds):
    start = time.monotonic()
    for at in range(0, mib << 20, 4096):
        memory[at:at + 4096] = page
    times.append(time.monotonic() - start)
times.sort()
print(f"{name}: first pass {first:.3f} s, then median {times[len(times) // 2]:.4f} s a pass")
END' sh "$group" "$1" "$work_mib" "$rounds"
}

work alone
sh -c 'echo $$ >"$1/cgroup.procs"; exec "$2" --listen 127.0.0.1:"$3" --memory auto' \
    sh "$group" "$memnode" "$port" &
node=$!
sleep 1
redis-benchmark -p "$port" -t set -d 4096 -n 300000 -r 300000 -P 16 -q >/dev/null
echo "node before: $(grep VmRSS /proc/$node/status)"
work "beside a node"
echo "node after: $(grep VmRSS /proc/$node/status)"
