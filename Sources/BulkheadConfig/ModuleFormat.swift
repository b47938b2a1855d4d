/// What a file is that should be a WebAssembly module, by its first bytes.
enum ModuleFormat {
  /// So many bytes tell.
  static let sniffedBytes = 512

  /// What the file is instead of a module, and what to do, as it follows its name; nil where it begins as one.
  static func flaw(_ bytes: [UInt8]) -> String? {
    if bytes.isEmpty { return "is empty, not a WebAssembly module" }
    if bytes.starts(with: Array("\0asm".utf8)) {
      // A component has another version, and a layer.
      let isComponent = bytes.count >= 8 && bytes[6] == 1 && bytes[7] == 0
      return isComponent
        ? "is a WebAssembly component: Proxy-Wasm plugins are core modules, so build it for a target such as wasm32-wasip1"
        : nil
    }
    for (magic, what) in formats where bytes.starts(with: magic) { return what }
    if bytes.dropFirst(257).starts(with: Array("ustar".utf8)) {
      return "is a tar archive, as the layers of an image are: unpack it and give the .wasm file that is in it"
    }
    return text(bytes)
  }

  private static let formats: [([UInt8], String)] = [
    ([0x1F, 0x8B], "is compressed (gzip), not a WebAssembly module: unpack it, for example with gunzip or tar"),
    ([0x28, 0xB5, 0x2F, 0xFD], "is compressed (zstd), not a WebAssembly module: unpack it"),
    ([0xFD, 0x37, 0x7A, 0x58, 0x5A], "is compressed (xz), not a WebAssembly module: unpack it"),
    ([0x42, 0x5A, 0x68], "is compressed (bzip2), not a WebAssembly module: unpack it"),
    ([0x50, 0x4B, 0x03, 0x04], "is a zip archive, not a WebAssembly module: unpack it and give the .wasm file"),
    (
      [0x7F, 0x45, 0x4C, 0x46],
      "is machine code (ELF), not a WebAssembly module: build it for a target such as wasm32-wasip1, or give the .wasm "
        + "file that this one was compiled from"
    ),
    (Array("version https://git-lfs".utf8), "is a pointer of Git LFS, not the module itself: run git lfs pull"),
    (Array("!<arch>".utf8), "is a static library (.a, .rlib), not a WebAssembly module: build a cdylib"),
    (Array("BC".utf8) + [0xC0, 0xDE], "is LLVM bitcode, not a WebAssembly module"),
  ]

  private static func text(_ bytes: [UInt8]) -> String {
    let isText = bytes.allSatisfy { $0 >= 0x20 || (0x09...0x0D).contains($0) }
    guard isText else { return "is no WebAssembly module: it does not begin as one (00 61 73 6d)" }
    let words = bytes.drop { $0 <= 0x20 }
    if words.starts(with: Array("(module".utf8)) || words.starts(with: Array("(component".utf8))
      || words.starts(with: Array(";;".utf8)) || words.starts(with: Array("(;".utf8))
    {
      return "is WebAssembly's text format (.wat), not a module: translate it, for example with wat2wasm"
    }
    if words.starts(with: Array("<".utf8)) {
      return "is text (HTML or XML), not a WebAssembly module: is it the page of a download that failed?"
    }
    if words.starts(with: Array("{".utf8)) { return "is text (JSON), not a WebAssembly module" }
    return "is text, not a WebAssembly module"
  }
}
