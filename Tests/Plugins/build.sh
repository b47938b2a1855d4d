#!/usr/bin/env bash
# Compiles the test plugins to .build/plugins/NAME.wasm, each from its one C file, where that or the header is newer,
# and the plugin of the conformance cases once for each version of the ABI.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly output="${1:-../../.build/plugins}"
mkdir -p "$output"
# A module is called what its file was called when it was linked, so it gets its own name in a folder of its own.
partial="$(mktemp -d "$output/partial.XXXXXX")"
trap 'rm -rf "$partial"' EXIT

# The Swift toolchain brings a clang and a wasm-ld; the ones on the PATH may know no WebAssembly.
resources="$(swiftc -print-target-info | sed -n 's/.*"runtimeResourcePath": "\(.*\)".*/\1/p')"
clang="${resources%/lib/swift}/bin/clang"
[ -x "$clang" ] || clang=clang

# -fno-builtin keeps the loops of memcpy and memset from becoming calls to themselves. The name section stays (no -s),
# so that a trap's backtrace has the names of functions.
flags=(
  --target=wasm32 -std=c11 -O2 -ffreestanding -fno-builtin -nostdlib
  -Wall -Wextra -Werror -Wno-unused-function
  -Wl,--no-entry -Wl,--stack-first -Wl,-z,stack-size=65536
)

compile() { # NAME SOURCE [FLAGS]
  local name="$1" source="$2" target="$output/$1.wasm"
  shift 2
  if [ "$target" -nt "$source" ] && [ "$target" -nt proxy_wasm.h ] && [ "$target" -nt build.sh ]; then return; fi
  "$clang" "${flags[@]}" "$@" -o "$partial/$name.wasm" "$source"
  mv "$partial/$name.wasm" "$target"
  printf 'plugins: %s\n' "$name"
}

for source in *.c; do
  # A plugin that needs other linker flags says so on its first line.
  read -ra own < <(sed -n '1s|^// link: ||p' "$source") || true
  compile "${source%.c}" "$source" "${own[@]}"
done

# The plugin of the conformance cases, for each version of the ABI, and without what Envoy does not link.
for version in 0.1.0 0.2.0 0.2.1; do
  number="${version#0.}"
  number="${number/./}"
  compile "conformance-$version" ../Conformance/conformance.c "-DABI=$number"
  compile "conformance-$version-envoy" ../Conformance/conformance.c "-DABI=$number" -DFOR_ENVOY
done
