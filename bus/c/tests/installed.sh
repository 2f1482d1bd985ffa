#!/bin/sh
# The C library as its users get it: installed, found by pkg-config, and the two programs of the
# example built and run over it in an empty directory. Called by `make test-c` from the root.
set -eu

target=$(realpath "${CARGO_TARGET_DIR:-target}")
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
make --no-print-directory install-bus PREFIX="$home/prefix"
mkdir "$home/work"
cp examples/bus-c/* "$home/work"
cd "$home/work"

export PKG_CONFIG_PATH="$home/prefix/lib/pkgconfig" LD_LIBRARY_PATH="$home/prefix/lib"
export RAMGRID_BUS_DIR="$home/bus"
for program in sender receiver; do
    # shellcheck disable=SC2046
    cc -std=c11 -Wall -Wextra -Werror $program.c -o $program \
        $(pkg-config --cflags --libs ramgrid-bus)
done
"$target/release/hooktool" bus apply orders.toml
timeout 60 ./receiver >heard &
receiver=$!
timeout 60 ./sender >said
wait $receiver
if [ "$(tail -n 1 said)" != "order 10: taken" ] || [ "$(head -n 1 heard)" != "number 1: order 1" ]
then
    echo "test-c: what was said, and what was heard:" >&2
    cat said heard >&2
    exit 1
fi
echo "test-c: installed, found by pkg-config, ten orders sent and taken"
