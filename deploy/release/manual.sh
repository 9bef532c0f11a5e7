#!/usr/bin/env bash
# Writes the manual pages and shell completions that the program prints: manual.sh PROGRAM MAN COMPLETIONS.
set -euo pipefail
program=$1 man=$2 completions=$3
mkdir -p "$man" "$completions"
"$program" man --dir "$man"
"$program" completions bash > "$completions/cupbearer"
"$program" completions zsh > "$completions/_cupbearer"
"$program" completions fish > "$completions/cupbearer.fish"
chmod 644 "$man"/* "$completions"/*
