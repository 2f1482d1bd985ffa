#!/bin/sh
# PostgreSQL beside a memory node, on one machine, in a directory of its own; needs no root.
# Usage: demo.sh [directory of hooktool and memnode]      (run as any user but root)
set -eu

bin=$(cd "${1:-target/release}" && pwd)
pg=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
home=$(mktemp -d /var/tmp/ramgrid-postgresql.XXXXXX)
node_pid= pg_pid=
trap 'kill -INT $pg_pid 2>/dev/null; wait $pg_pid || true; kill $node_pid; rm -rf "$home"' EXIT
trap 'exit 130' INT TERM

"$bin/memnode" --listen 127.0.0.1:7421 --memory 512MiB 2>"$home/memnode.log" &
node_pid=$!

"$pg/initdb" -D "$home/data" -U postgres -A trust >/dev/null
"$bin/hooktool" run --node 127.0.0.1:7421 --own "$home/data/**" --name example -- \
    "$pg/postgres" -D "$home/data" -c listen_addresses= -c unix_socket_directories="$home" \
    2>"$home/postgres.log" &
pg_pid=$!
until "$pg/pg_isready" -q -h "$home"; do sleep 0.2; done

"$pg/pgbench" -h "$home" -U postgres -i -q -s 10 postgres
"$pg/pgbench" -h "$home" -U postgres -n -T 5 -c 4 postgres
"$bin/hooktool" stats example
