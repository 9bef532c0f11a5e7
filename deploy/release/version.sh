#!/usr/bin/env bash
# Prints the version of this tree: of the tag v1.2.3 it is 1.2.3; seven commits later 1.2.3+7.g0a1b2c3; before any tag
# the manifest's, with the commit: 0.1.0+g0a1b2c3; of a tree without git (a tarball) the manifest's alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
manifest=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -1)
# A work tree of its own, not one that happens to lie around a tarball.
if [ "$(git rev-parse --show-prefix 2>/dev/null || echo none)" != "" ]; then
    echo "$manifest"
elif tagged=$(git describe --tags --match 'v[0-9]*' 2>/dev/null); then
    tagged=${tagged#v}
    [[ $tagged =~ ^(.*)-([0-9]+)-(g[0-9a-f]+)$ ]] && tagged="${BASH_REMATCH[1]}+${BASH_REMATCH[2]}.${BASH_REMATCH[3]}"
    echo "$tagged"
else
    echo "$manifest+g$(git rev-parse --short=7 HEAD)"
fi
