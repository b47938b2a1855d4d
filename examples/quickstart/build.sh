#!/usr/bin/env bash
# Builds the two plugins of the quickstart with nothing but a Swift toolchain: it brings a clang that knows WebAssembly.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly output="${1:-../../.build/plugins}"
mkdir -p "$output"
partial="$(mktemp -d "$output/partial.XXXXXX")"
trap 'rm -rf "$partial"' EXIT

resources="$(swiftc -print-target-info | sed -n 's/.*"runtimeResourcePath": "\(.*\)".*/\1/p')"
clang="${resources%/lib/swift}/bin/clang"
[ -x "$clang" ] || clang=clang

readonly compile=(--target=wasm32 -std=c11 -O2 -ffreestanding -fno-builtin -Wall -Wextra -Werror)
readonly link=(--target=wasm32 -nostdlib -Wl,--no-entry -Wl,--stack-first -Wl,-z,stack-size=65536)

is_fresh() { # TARGET SOURCE...
  local target="$1" source
  shift
  for source in "$@"; do [ "$target" -nt "$source" ] || return 1; done
}

if ! is_fresh "$output/api-key.wasm" build.sh api-key/api-key.c; then
  "$clang" "${compile[@]}" "${link[@]}" -o "$partial/api-key.wasm" api-key/api-key.c
  mv "$partial/api-key.wasm" "$output/api-key.wasm"
  printf 'plugins: api-key (C)\n'
fi

if ! is_fresh "$output/timing.wasm" build.sh timing/timing.swift timing/heap.c; then
  swiftc -target wasm32-unknown-none-wasm -wmo -Osize -parse-as-library -module-name timing \
    -enable-experimental-feature Embedded -enable-experimental-feature Extern \
    -Xfrontend -disable-stack-protector -c timing/timing.swift -o "$partial/timing.o"
  "$clang" "${compile[@]}" -c timing/heap.c -o "$partial/heap.o"
  "$clang" "${link[@]}" -Wl,--gc-sections -o "$partial/timing.wasm" "$partial/timing.o" "$partial/heap.o"
  mv "$partial/timing.wasm" "$output/timing.wasm"
  printf 'plugins: timing (Embedded Swift)\n'
fi
