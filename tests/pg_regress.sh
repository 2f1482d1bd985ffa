#!/bin/sh
# PostgreSQL's own regression suite, natively and hooked: the same verdict on every test, or failure.
#
# usage: tests/pg_regress.sh [SOURCE]    (as root; `make build` and `make test-deps` before)
# The suite is in the source of PostgreSQL 15 only, so it is fetched as a Debian source package, with
# lists and cache of its own: nothing of the machine's apt is changed. SOURCE is an unpacked source to
# use instead. Some tests fail natively, too, where server and source are not of one build; what
# counts is that none fails for being hooked. `make torture` runs this.
set -eu
[ $# -le 1 ] || { sed -n '4p' "$0" >&2; exit 2; }
artefacts=$(cd "${CARGO_TARGET_DIR:-target}/release" && pwd)
programs=/usr/lib/postgresql/15/bin
place=${RAMGRID_TEST_DIR:-/var/tmp}/ramgrid-test-regress-$$-0
mkdir -p "$place/bin"
chown postgres "$place"

# Fetches, unpacks and configures the source into $place/source.
fetch() {
    apt=$place/apt
    mkdir -p "$apt/parts" "$apt/lists/partial" "$apt/cache/archives/partial" "$place/source"
    for list in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
        case $list in
        *.sources) sed 's/^Types: *deb *$/Types: deb-src/' "$list" ;;
        *.list) sed -n 's/^deb /deb-src /p' "$list" ;;
        *) continue ;;
        esac >"$apt/parts/$(basename "$list")" 2>/dev/null || true
    done
    # Other lists than Debian's may have no sources: what counts is whether the package is found.
    with="-o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts=$apt/parts
        -o Dir::State::Lists=$apt/lists -o Dir::Cache=$apt/cache -o APT::Sandbox::User=root"
    apt-get $with -qq update 2>"$apt/log" || true
    version=$(dpkg-query -W -f '${Version}' postgresql-15)
    (cd "$apt" && apt-get $with -qq source --download-only "postgresql-15=$version") 2>>"$apt/log" ||
        (cd "$apt" && apt-get $with -qq source --download-only postgresql-15) 2>>"$apt/log" ||
        { cat "$apt/log" >&2; echo "no source package of postgresql-15: give SOURCE" >&2; exit 1; }
    tar xf "$apt"/postgresql-15_*.orig.tar.* -C "$place/source" --strip-components=1
    (cd "$place/source" && ./configure --without-readline --without-zlib --without-icu &&
        make -C src/backend generated-headers) >"$apt/build" 2>&1 ||
        { tail "$apt/build" >&2; exit 1; }
}

source=${1:-$place/source}
[ $# = 1 ] || fetch
tests=$(cd "$source/src/test/regress" && pwd)
for name in hooktool memnode libramgrid_shim.so; do
    cp "$artefacts/$name" "$place/bin/"
done
gcc -O2 -shared -fPIC -D_GNU_SOURCE -I "$source/src/include" -o "$place/bin/regress.so" "$tests/regress.c"
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
