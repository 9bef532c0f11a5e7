#!/usr/bin/env bash
# Builds the one static program: program.sh OUTPUT. The same sources give the same bytes, wherever they lie; what is built on
# the way goes below CARGO_TARGET_DIR, by default target/.
set -euo pipefail
output=$(realpath -m "${1:?where the program goes}")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# Beside other builds, whose flags differ.
built=$(realpath -m "${CARGO_TARGET_DIR:-target}/static")
: "${CUPBEARER_VERSION:=$(deploy/release/version.sh)}"
export CUPBEARER_VERSION

# Named, so that flags are for the program and not for what builds it (macros cannot be static).
target=$(rustc -vV | sed -n 's/^host: //p')
cargo_home=${CARGO_HOME:-$HOME/.cargo}
# No path of this machine is in the program, C code included. Our own sources are compiled by paths that begin here.
flags=(
    -C target-feature=+crt-static
    --remap-path-prefix="$built=/built"
    --remap-path-prefix="$cargo_home=/cargo"
    # A static program does not find libc's getrandom by name: without this it would want /dev/urandom, which an empty
    # root directory does not have and a closed one does not give.
    --cfg 'getrandom_backend="linux_getrandom"'
)
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f'; echo "${flags[*]}")
export CARGO_ENCODED_RUSTFLAGS
export CFLAGS="${CFLAGS:-} -ffile-prefix-map=$built=/built -ffile-prefix-map=$cargo_home=/cargo"
export CARGO_INCREMENTAL=0
cargo build --release --locked --bin cupbearer --target "$target" --target-dir "$built"
install -D -m 755 "$built/$target/release/cupbearer" "$output"
