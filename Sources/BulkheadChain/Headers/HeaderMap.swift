import BulkheadCore
import BulkheadWire
import Glibc

/// The headers of one message as Proxy-Wasm sees them: pseudo-headers first, names in lower case, several entries of a
/// name kept apart.
///
/// All bytes lie in one block that is reused from message to message, and the serialized form is made once until the
/// next change: in a chain of plugins that change nothing each gets a copy of the same bytes. One event loop.
public final class HeaderMap {
  /// One name with one value; of use with its map alone, until the map's next change.
  public struct Entry: Sendable {
    /// Which of the names that the front acts upon it is.
    public var name: HeaderName
    fileprivate var keyAt: UInt32
    fileprivate var keyCount: UInt32
    fileprivate var valueAt: UInt32
    fileprivate var valueCount: UInt32
  }

  private var base: UnsafeMutableRawPointer
  private var capacity: Int
  private var used = 0
  /// In the order of the message, pseudo-headers first.
  public private(set) var entries: [Entry] = []
  /// The bytes of all names and values.
  public private(set) var byteCount = 0
  /// The size of the map as serialized pairs.
  @inline(__always)
  var blockBytes: Int { 4 &+ 10 &* entries.count &+ byteCount }
  /// A plugin took `content-length` away: where the message ends is said in another way.
  public var lengthWasRemoved = false
  private var block = WireWriter(capacity: 1024)
  private var blockIsCurrent = false

  /// An empty map.
  public init() {
    capacity = 2048
    base = .allocate(byteCount: capacity, alignment: 16)
    entries.reserveCapacity(24)
  }

  deinit { base.deallocate() }

  /// Forgets all entries, keeps the memory.
  public func reset() {
    used = 0
    byteCount = 0
    lengthWasRemoved = false
    entries.removeAll(keepingCapacity: true)
    blockIsCurrent = false
  }

  // MARK: Reading

  /// The name's bytes; valid until the next change.
  @inline(__always)
  public func key(_ entry: Entry) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: base + Int(entry.keyAt), count: Int(entry.keyCount))
  }

  /// The value's bytes; valid until the next change.
  @inline(__always)
  public func value(_ entry: Entry) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: base + Int(entry.valueAt), count: Int(entry.valueCount))
  }

  /// The first value of a name that the front knows; nil where there is none.
  public func value(of name: HeaderName) -> UnsafeRawBufferPointer? {
    for index in 0..<entries.count where entries[index].name == name { return value(entries[index]) }
    return nil
  }

  /// The first value of a name as text; for logs and tests.
  public func text(of name: HeaderName) -> String? {
    value(of: name).map { String(decoding: $0, as: UTF8.self) }
  }

  /// All entries as the trailers of a message.
  var fields: Trailers {
    entries.map { (name: String(decoding: key($0), as: UTF8.self), value: [UInt8](value($0))) }
  }

  /// All entries as text; for tests.
  var strings: [(String, String)] {
    entries.map { (String(decoding: key($0), as: UTF8.self), String(decoding: value($0), as: UTF8.self)) }
  }

  /// The map as Proxy-Wasm serialized pairs; valid until the next change.
  func serialized() -> UnsafeRawBufferPointer {
    if !blockIsCurrent {
      block.reset()
      var cursor = block.beginPairs(count: entries.count)
      for index in 0..<entries.count { block.addPair(&cursor, key(entries[index]), value(entries[index])) }
      blockIsCurrent = true
    }
    return block.bytes
  }

  // MARK: Writing

  @inline(__always)
  private func reserve(_ extra: Int) {
    if used &+ extra > capacity { grow(extra) }
  }

  @inline(never)
  private func grow(_ extra: Int) {
    let wanted = max(capacity * 2, used + extra)
    let fresh = UnsafeMutableRawPointer.allocate(byteCount: wanted, alignment: 16)
    fresh.copyMemory(from: base, byteCount: used)
    base.deallocate()
    base = fresh
    capacity = wanted
  }

  @inline(__always)
  private func store(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
    // The bytes may lie in this very block (a value that is copied): remember where before it moves.
    let at = used
    if let source = bytes.baseAddress, bytes.count > 0 {
      if used &+ bytes.count > capacity, source >= UnsafeRawPointer(base), source < UnsafeRawPointer(base + capacity) {
        let offset = source - UnsafeRawPointer(base)
        grow(bytes.count)
        (base + used).copyMemory(from: base + offset, byteCount: bytes.count)
      } else {
        reserve(bytes.count)
        (base + used).copyMemory(from: source, byteCount: bytes.count)
      }
      used &+= bytes.count
    }
    return UInt32(truncatingIfNeeded: at)
  }

  /// Appends an entry whose name is in lower case already.
  @inline(__always)
  public func append(_ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, name: HeaderName) {
    blockIsCurrent = false
    let keyAt = store(key)
    let valueAt = store(value)
    byteCount &+= key.count &+ value.count
    entries.append(
      Entry(
        name: name, keyAt: keyAt, keyCount: UInt32(truncatingIfNeeded: key.count), valueAt: valueAt,
        valueCount: UInt32(truncatingIfNeeded: value.count)))
  }

  /// Appends an entry of a name that is known beforehand, in lower case; `name` is for those that the front acts upon.
  public func append(_ key: StaticString, _ value: UnsafeRawBufferPointer, name: HeaderName = .other) {
    append(key.bytes, value, name: name)
  }

  /// The same with a value that is known beforehand.
  public func append(_ key: StaticString, _ value: StaticString, name: HeaderName = .other) {
    append(key.bytes, value.bytes, name: name)
  }

  /// The same with a value that was made here.
  public func append(_ key: StaticString, _ value: String, name: HeaderName = .other) {
    var copy = value
    copy.withUTF8 { append(key.bytes, UnsafeRawBufferPointer($0), name: name) }
  }

  /// Appends an entry as a parser gives it: the name, a valid token, is put into lower case. Returns its number.
  @inline(__always)
  public func appendParsed(_ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) -> HeaderName {
    blockIsCurrent = false
    let keyAt = used
    reserve(key.count &+ value.count)
    for index in 0..<key.count {
      base.storeBytes(of: ASCII.lower(key[index]), toByteOffset: keyAt &+ index, as: UInt8.self)
    }
    let valueAt = keyAt &+ key.count
    if let source = value.baseAddress { (base + valueAt).copyMemory(from: source, byteCount: value.count) }
    used = valueAt &+ value.count
    byteCount &+= key.count &+ value.count
    let name = HeaderName(UnsafeRawBufferPointer(start: base + keyAt, count: key.count))
    entries.append(
      Entry(
        name: name, keyAt: UInt32(truncatingIfNeeded: keyAt), keyCount: UInt32(truncatingIfNeeded: key.count),
        valueAt: UInt32(truncatingIfNeeded: valueAt), valueCount: UInt32(truncatingIfNeeded: value.count)))
    return name
  }

  /// Gives up what edits have left behind, where that is much: the block only grows otherwise.
  func squeeze() {
    guard used > byteCount &* 2 &+ (64 << 10) else { return }
    let fresh = UnsafeMutableRawPointer.allocate(byteCount: max(byteCount, 2048), alignment: 16)
    var at = 0
    for index in entries.indices {
      for (path, count) in [(\Entry.keyAt, entries[index].keyCount), (\Entry.valueAt, entries[index].valueCount)] {
        (fresh + at).copyMemory(from: base + Int(entries[index][keyPath: path]), byteCount: Int(count))
        entries[index][keyPath: path] = UInt32(truncatingIfNeeded: at)
        at &+= Int(count)
      }
    }
    base.deallocate()
    base = fresh
    capacity = max(byteCount, 2048)
    used = at
  }

  /// The whole map, to be put back by `restore`.
  func snapshot() -> [UInt8] { [UInt8](serialized()) }

  /// Puts back what `snapshot` gave.
  func restore(_ snapshot: [UInt8]) {
    reset()
    snapshot.withUnsafeBytes { bytes in
      guard let pairs = try? PairsView(bytes) else { return }
      // swift-format-ignore: ReplaceForEachWithForLoop
      pairs.forEach { key, value in append(key, value, name: HeaderName(key)) }
    }
  }

  /// Takes the last entry away again.
  public func removeLast() {
    guard let last = entries.popLast() else { return }
    byteCount &-= Int(last.keyCount &+ last.valueCount)
    blockIsCurrent = false
  }

  /// Gives the entry at `index` another value.
  public func setValue(at index: Int, _ value: UnsafeRawBufferPointer) {
    guard entries.indices.contains(index) else { return }
    blockIsCurrent = false
    let at = store(value)
    byteCount &+= value.count &- Int(entries[index].valueCount)
    entries[index].valueAt = at
    entries[index].valueCount = UInt32(truncatingIfNeeded: value.count)
  }

  /// Sets the one value of a name that the front knows; appends an entry where there is none.
  public func set(_ name: HeaderName, _ key: StaticString, _ value: UnsafeRawBufferPointer) {
    if let index = entries.firstIndex(where: { $0.name == name }) {
      setValue(at: index, value)
    } else {
      append(key.bytes, value, name: name)
    }
  }

  /// The place of the first entry of that name, in lower case.
  func firstIndex(_ key: UnsafeRawBufferPointer) -> Int? {
    entries.firstIndex { self.key($0).equals(key) }
  }

  /// Gives the first entry of that name, in lower case, another value, and takes the others of the name away.
  ///
  /// - Returns: false where there is none.
  func replace(_ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) -> Bool {
    guard let first = firstIndex(key) else { return false }
    setValue(at: first, value)
    // Mostly there are none: one look at each entry, and nothing is moved.
    if entries[(first + 1)...].contains(where: { self.key($0).equals(key) }) {
      var index = -1
      removeAll { entry in
        index += 1
        return index > first && self.key(entry).equals(key)
      }
    }
    return true
  }

  /// Removes the entries that `matches` says.
  public func removeAll(where matches: (Entry) -> Bool) {
    let before = entries.count
    entries.removeAll { entry in
      guard matches(entry) else { return false }
      byteCount &-= Int(entry.keyCount &+ entry.valueCount)
      return true
    }
    if entries.count != before { blockIsCurrent = false }
  }

  /// Removes what belongs to one connection alone: the hop-by-hop headers and those that `connection` lists.
  public func removeHopByHop() {
    // Collected first: the list names entries anywhere in the map.
    for index in entries.indices where entries[index].name == .connection {
      value(entries[index]).forEachListElement { listed in
        guard !listed.equalsIgnoringCase("close"), !listed.equalsIgnoringCase("keep-alive") else { return }
        for other in entries.indices {
          guard entries[other].name.mayBeListed else { continue }
          if listed.count == Int(entries[other].keyCount), matchesIgnoringCase(listed, key(entries[other])) {
            entries[other].name = .upgrade
          }
        }
      }
    }
    removeAll { $0.name.isHopByHop }
  }

  private func matchesIgnoringCase(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> Bool {
    for index in 0..<left.count where ASCII.lower(left[index]) != right[index] { return false }
    return true
  }
}
