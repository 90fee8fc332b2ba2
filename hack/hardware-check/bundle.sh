#!/bin/sh
# Makes a folder with all that hardware-check needs on a machine without Rust and without a network: the program,
# the fake library, and run.sh. Usage: bundle.sh [FOLDER], default ./hardware-check-bundle.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-hardware-check-bundle}

target=$(cargo metadata --format-version 1 --no-deps --manifest-path "$here/Cargo.toml" |
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
cargo build --release --manifest-path "$here/Cargo.toml"
mkdir -p "$folder"
cp "$target/release/hardware-check" "$target/release/deps/libfake_nvml.so" "$here/run.sh" "$folder/"

# The oldest C library that the bundle runs on.
needed=$(grep -aoh 'GLIBC_2\.[0-9]*' "$folder/hardware-check" "$folder/libfake_nvml.so" | sort -Vu | tail -n 1)
echo "made $folder: copy it to the GPU machine and run ./run.sh there (needs $needed or newer)"
