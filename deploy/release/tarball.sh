#!/usr/bin/env bash
# Packs the tarball: tarball.sh STAGE ARCHITECTURE OUTPUT; STAGE holds the program. For build.sh.
set -euo pipefail
stage=$1 architecture=$2 output=$3
name=cupbearer-$CUPBEARER_VERSION-linux-$architecture
root=$stage/tarball/$name
install -D -m 755 "$stage/cupbearer" "$root/cupbearer"
install -m 644 LICENSE README.md SECURITY.md deploy/release/cupbearer.toml "$root"
install -D -m 644 -t "$root/systemd" deploy/systemd/cupbearer.service
install -D -m 644 -t "$root/proto/cupbearer/v1" proto/cupbearer/v1/broker.proto
deploy/release/manual.sh "$stage/cupbearer" "$root/man" "$root/completions"
tar --create --directory "$stage/tarball" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
    --format=gnu "$name" | xz --threads=1 "-$COMPRESSION" > "$output/$name.tar.xz"
