#!/usr/bin/env bash
# Makes a release: build.sh [DIRECTORY], by default dist/. A tarball, a Debian package, and SHA256SUMS of both; the same
# commit gives the same bytes. Needs Rust, a C compiler, git, dpkg-deb and xz.
set -euo pipefail
output=$(realpath -m "${1:-$(dirname "${BASH_SOURCE[0]}")/../../dist}")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
umask 022
export LC_ALL=C TZ=UTC
CUPBEARER_VERSION=$(deploy/release/version.sh)
export CUPBEARER_VERSION
# All times in what is packed: the commit's.
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct)}"
export SOURCE_DATE_EPOCH
# For those who try: 1 is six times as quick.
export COMPRESSION=${COMPRESSION:-6}
architecture=$(dpkg --print-architecture)
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

deploy/release/program.sh "$stage/cupbearer"
mkdir -p "$output"
deploy/release/tarball.sh "$stage" "$architecture" "$output"
deploy/release/debian.sh "$stage" "$architecture" "$output"
cd "$output"
sha256sum "cupbearer-$CUPBEARER_VERSION-linux-$architecture.tar.xz" "cupbearer_${CUPBEARER_VERSION}_$architecture.deb" \
    | tee SHA256SUMS
