#!/bin/sh
# Checks the project's fake against the NVIDIA driver of this machine: records what it answers, and prints where
# the fake differs. Reads only. See docs/hardware-check.md; './run.sh --help' lists the options.
set -eu

here=$(cd "$(dirname "$0")" && pwd)

# In a folder that bundle.sh made the program lies beside this script.
if [ -x "$here/hardware-check" ]; then
    exec "$here/hardware-check" "$@"
fi

if ! command -v cargo >/dev/null 2>&1; then
    echo "run.sh: neither $here/hardware-check nor cargo is here." >&2
    echo "run.sh: build a folder with hack/hardware-check/bundle.sh on a machine with Rust, and copy it here." >&2
    exit 3
fi

# The program starts itself again and looks for the fake library beside itself: built first, then run as a file.
echo "run.sh: building hardware-check with cargo (this may fetch crates; a bundle needs no network)" >&2
target=$(cargo metadata --format-version 1 --no-deps --manifest-path "$here/Cargo.toml" |
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
cargo build --quiet --release --manifest-path "$here/Cargo.toml" >&2
exec "$target/release/hardware-check" "$@"
