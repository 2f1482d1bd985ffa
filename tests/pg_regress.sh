#!/bin/sh
# PostgreSQL's own regression suite, natively and hooked: the same verdict on every test, or failure.
#
# usage: tests/pg_regress.sh SOURCE      (as root; `make build` and `make test-deps` before)
# SOURCE is the unpacked, configured source of PostgreSQL 15, which Debian's binary packages lack:
#     apt-get source postgresql-15                (wants deb-src lines in the sources of apt)
#     ./configure --without-readline --without-zlib --without-icu && make -C src/backend generated-headers
# Some tests fail natively, too, where server and source are not of one build; what counts is that none
# fails for being hooked. By hand only, for it needs what no package brings.
set -eu
[ $# = 1 ] || { sed -n '4p' "$0" >&2; exit 2; }
tests=$(cd "$1/src/test/regress" && pwd)
artefacts=$(cd "${CARGO_TARGET_DIR:-target}/release" && pwd)
programs=/usr/lib/postgresql/15/bin
place=${RAMGRID_TEST_DIR:-/var/tmp}/ramgrid-test-regress-$$-0
mkdir -p "$place/bin"
chown postgres "$place"
for name in hooktool memnode libramgrid_shim.so; do
    cp "$artefacts/$name" "$place/bin/"
done
gcc -O2 -shared -fPIC -D_GNU_SOURCE -I "$1/src/include" -o "$place/bin/regress.so" "$tests/regress.c"
chmod -R a+rX "$place" "$tests"

as_server() {
    setpriv --reuid postgres --regid postgres --clear-groups \
        env -i PATH="$programs:/usr/bin:/bin" LC_ALL=C TZ=UTC "$@"
}

# Runs the suite on a server of this kind; leaves the verdicts, without their times.
suite() {
    home=$place/$1
    shift
    mkdir "$home"
    chown postgres "$home"
    as_server initdb -A trust -U postgres -E UTF8 --locale=C --no-sync -D "$home/d" >/dev/null
    cat >>"$home/d/postgresql.conf" <<END
listen_addresses = ''
unix_socket_directories = '$home'
shared_buffers = 2MB
max_connections = 60
END
    as_server "$@" postgres -D "$home/d" >"$home/log" 2>&1 &
    server=$!
    until as_server psql -h "$home" -U postgres -Atc 'select 1' postgres >/dev/null 2>&1; do
        kill -0 "$server" || { cat "$home/log" >&2; exit 1; }
        sleep 0.2
    done
    as_server /usr/lib/postgresql/15/lib/pgxs/src/test/regress/pg_regress \
        --inputdir="$tests" --outputdir="$home" --dlpath="$place/bin" --bindir="$programs" \
        --host="$home" --user=postgres --schedule="$tests/parallel_schedule" \
        --max-connections=8 >"$home/out" 2>&1 || true
    kill -TERM "$(head -n 1 "$home/d/postmaster.pid")"
    wait "$server"
    sed -n 's/^ *\(test \)\{0,1\} *\([a-z0-9_]*\) *\.\.\. \(ok\|FAILED\).*/\2 \3/p' "$home/out" |
        sort >"$home/verdicts"
    tail -n 5 "$home/out"
}

suite native
suite hooked "$place/bin/hooktool" run --linger 0 --fill always \
    --stats-at-exit "$place/stats.json" --
until [ -s "$place/stats.json" ]; do sleep 0.2; done
grep -o '"hits_[a-z]*":[0-9]*' "$place/stats.json"
[ "$(wc -l <"$place/native/verdicts")" -gt 150 ] || { echo "too few verdicts in $place" >&2; exit 1; }
if ! diff "$place/native/verdicts" "$place/hooked/verdicts"; then
    echo "hooked and native differ: see $place" >&2
    exit 1
fi
echo "$(wc -l <"$place/native/verdicts") tests: the same verdicts"
rm -rf "$place"
