#!/bin/sh
# Installs the Debian packages the tests need, and nothing else: called by `make test-deps`.
#
# Looks for each tool first and asks apt only for what is missing, so that on a prepared machine it
# touches nothing and needs no network. Never starts a service of the distribution: the tests run
# servers of their own, in directories of their own. Not root: says loudly what is missing, and goes
# on; the tests that need it will fail and name it.
set -eu

# The one tool that Debian does not have: built by cargo, beside what the project builds.
tools=${CARGO_TARGET_DIR:-target}/tools
[ -x "$tools/bin/fsx" ] ||
    ${CARGO:-cargo} install --quiet --locked --root "$tools" fsx --version 0.3.2

# tool or file, package
needs="
/usr/lib/postgresql/15/bin/postgres postgresql-15
/usr/lib/postgresql/15/bin/pgbench postgresql-15
/usr/lib/postgresql/15/bin/pg_amcheck postgresql-client-15
sqlite3 sqlite3
/usr/bin/python3 python3
/usr/lib/python3/dist-packages/redis/__init__.py python3-redis
/usr/lib/python3.11/ensurepip/__init__.py python3-venv
redis-cli redis-tools
fio fio
gcc gcc
/usr/include/stdio.h libc6-dev
strace strace
script bsdutils
unshare util-linux
setpriv util-linux
mkfs.ext4 e2fsprogs
mkfs.xfs xfsprogs
mkfs.btrfs btrfs-progs
bindfs bindfs
fusermount3 fuse3
nginx nginx-light
apache2 apache2-bin
lighttpd lighttpd
mariadbd mariadb-server
mariadb-install-db mariadb-server
sysbench sysbench
redis-server redis-server
/usr/lib/python3/dist-packages/lmdb python3-lmdb
db_bench rocksdb-tools
ldb rocksdb-tools
rsync rsync
ip iproute2
/usr/lib/python3.11/test/test_fileio.py libpython3.11-testsuite
mount mount
git git
ip iproute2
openssl openssl
pkg-config pkg-config
dnsmasq dnsmasq-base
"

missing=""
set -- $needs
while [ $# -ge 2 ]; do
    case $1 in
    /*) [ -e "$1" ] || missing="$missing $2" ;;
    *) PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1 || missing="$missing $2" ;;
    esac
    shift 2
done
missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')
[ -n "${missing% }" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "test-deps: MISSING: $missing" >&2
    echo "test-deps: install them (Debian 12: sudo apt-get install $missing), or run as root;" >&2
    echo "test-deps: going on, and the tests that need them will fail." >&2
    exit 0
fi

# While packages are being set up, services must not start: 101 is "forbidden by policy".
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

echo "test-deps: installing $missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends $missing >/dev/null
