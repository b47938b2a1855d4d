import BulkheadCore
import BulkheadWire

/// The worker's own copy of one header map.
///
/// It keeps the block of serialized pairs as it came, and walks its lengths to find a name: a plugin that reads one
/// header of twenty builds nothing. The first edit makes an index; new names and values go behind the block.
/// Names are lower case, pseudo-headers stand first. One thread.
final class HeaderMap {
  struct Entry {
    var name: Int
    var nameLength: Int
    var value: Int
    var valueLength: Int
  }

  private let spare: SpareMemory
  private var arena = ByteArena()
  private var entries: [Entry] = []
  private var isIndexed = false
  /// How many entries there are.
  private(set) var count = 0
  /// The bytes of all names and values.
  private(set) var fieldBytes = 0
  /// Whether the stream has these headers at all.
  private(set) var isAvailable = false

  /// A map that is not there.
  ///
  /// - Parameter spare: where memory comes from and goes to.
  init(_ spare: SpareMemory) { self.spare = spare }

  /// Makes it a map that is not there.
  ///
  /// - Parameter kept: the most memory of it, and of its index, that stays for the next one.
  func clear(keeping kept: Int = KeptBytes.spare) {
    arena.trim(to: kept, spare)
    if entries.capacity &* MemoryLayout<Entry>.stride <= kept {
      entries.removeAll(keepingCapacity: true)
    } else {
      spare.give(entries)
      entries = []
    }
    isIndexed = false
    count = 0
    fieldBytes = 0
    isAvailable = false
  }

  /// Takes over a block that `PairsView` has checked.
  func load(_ block: UnsafeRawBufferPointer, count: Int) {
    arena.replace(with: block, spare)
    entries.removeAll(keepingCapacity: true)
    isIndexed = false
    self.count = block.isEmpty ? 0 : count
    // The rest of the block is the count, two lengths of each entry, and a zero behind each name and value.
    fieldBytes = block.isEmpty ? 0 : block.count &- 4 &- 10 &* count
    isAvailable = true
  }

  /// The memory that it takes.
  var memoryBytes: Int { arena.capacity &+ entries.capacity &* MemoryLayout<Entry>.stride }

  // MARK: Walking

  /// Goes over the entries in order; by offset, so that the arena may grow on the way.
  struct Walk {
    fileprivate var index = 0
    fileprivate var at: Int
  }

  @inline(__always)
  var start: Walk { Walk(at: 4 &+ count &* 8) }

  @inline(__always)
  func next(_ walk: inout Walk) -> Entry? {
    guard walk.index < count else { return nil }
    let index = walk.index
    walk.index = index &+ 1
    if isIndexed { return entries[index] }
    let lengths = arena.slice(4 &+ index &* 8, 8)
    guard lengths.count == 8 else { return nil }
    let nameLength = Int(UInt32(littleEndian: lengths.loadUnaligned(as: UInt32.self)))
    let valueLength = Int(UInt32(littleEndian: lengths.loadUnaligned(fromByteOffset: 4, as: UInt32.self)))
    let entry = Entry(
      name: walk.at, nameLength: nameLength, value: walk.at &+ nameLength &+ 1, valueLength: valueLength)
    walk.at = entry.value &+ valueLength &+ 1
    return entry
  }

  @inline(__always)
  func name(_ entry: Entry) -> UnsafeRawBufferPointer { arena.slice(entry.name, entry.nameLength) }

  @inline(__always)
  func value(_ entry: Entry) -> UnsafeRawBufferPointer { arena.slice(entry.value, entry.valueLength) }

  /// Whether the entry has that name; upper-case letters of `name` count as lower.
  @inline(__always)
  private func has(_ entry: Entry, _ name: UnsafeRawBufferPointer) -> Bool {
    guard entry.nameLength == name.count else { return false }
    let own = self.name(entry)
    for index in 0..<own.count where own[index] != ASCII.lower(name[index]) { return false }
    return true
  }

  /// The next entry of that name.
  @inline(__always)
  func next(_ walk: inout Walk, named name: UnsafeRawBufferPointer) -> Entry? {
    while let entry = next(&walk) {
      if has(entry, name) { return entry }
    }
    return nil
  }

  /// The first entry of that name.
  func first(named name: UnsafeRawBufferPointer) -> Entry? {
    var walk = start
    return next(&walk, named: name)
  }

  /// The value of the first entry of that name; valid until the next edit.
  func firstValue(_ name: StaticString) -> UnsafeRawBufferPointer? {
    name.withUTF8Buffer { first(named: UnsafeRawBufferPointer($0)) }.map { value($0) }
  }

  // MARK: Editing

  /// An index has room for so many entries more than there are: an edit comes next.
  private static let moreEntries = 4

  private func index() {
    guard !isIndexed else { return }
    entries.removeAll(keepingCapacity: true)
    if entries.capacity < count &+ Self.moreEntries {
      spare.give(entries)
      entries = spare.index(count &+ Self.moreEntries)
    }
    var walk = start
    while let entry = next(&walk) { entries.append(entry) }
    isIndexed = true
  }

  /// Whether the map may change by so many bytes of names and values, and by so many entries. What makes it no larger may
  /// be done whatever its size: it came so from the front.
  func mayGrow(by bytes: Int, entries extra: Int, maximumBytes: Int) -> Bool {
    guard extra <= 0 || count &+ extra <= Limits.maximumEditedPairs else { return false }
    return bytes <= 0
      || (fieldBytes &+ bytes <= maximumBytes
        && serializedBytes &+ bytes &+ 10 &* extra &+ 4 <= Limits.maximumPairsBytes)
  }

  /// Makes room for so many bytes. Removed entries leave theirs in the arena: where those are the greater part, they are
  /// squeezed out first. `KeptBytes.edited` counts on it.
  private func prepare(_ bytes: Int) {
    if arena.count > 2 &* serializedBytes &+ (4 << 10) { squeeze() }
    index()
  }

  private func squeeze() {
    index()
    var fresh = ByteArena()
    fresh.reserve(fieldBytes)
    for position in entries.indices {
      let entry = entries[position]
      let name = fresh.append(arena.slice(entry.name, entry.nameLength))
      let value = fresh.append(arena.slice(entry.value, entry.valueLength))
      entries[position].name = name
      entries[position].value = value
    }
    arena = fresh
  }

  /// Appends an entry.
  ///
  /// - Parameter maximumBytes: of names and values.
  /// - Returns: false where the map would outgrow that, or `Limits`.
  func add(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, maximumBytes: Int) -> Bool {
    let bytes = name.count &+ value.count
    guard mayGrow(by: bytes, entries: 1, maximumBytes: maximumBytes) else { return false }
    prepare(bytes)
    append(name, value)
    return true
  }

  private func append(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
    arena.reserve(name.count &+ value.count, spare)
    let nameAt = arena.appendLowercased(name)
    let valueAt = arena.append(value)
    entries.append(Entry(name: nameAt, nameLength: name.count, value: valueAt, valueLength: value.count))
    count = entries.count
    fieldBytes &+= name.count &+ value.count
  }

  /// Leaves one entry of that name, at the place of the first; a pseudo-header that is not there goes in front.
  ///
  /// - Parameter maximumBytes: of names and values.
  /// - Returns: false where the map would outgrow that, or `Limits`.
  func replace(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, maximumBytes: Int) -> Bool {
    var walk = start
    var (replaced, going) = (0, 0)
    while let entry = next(&walk, named: name) {
      replaced &+= 1
      going &+= entry.nameLength &+ entry.valueLength
    }
    let change = name.count &+ value.count &- going
    guard mayGrow(by: change, entries: 1 &- replaced, maximumBytes: maximumBytes) else { return false }
    prepare(name.count &+ value.count)
    guard let first = entries.firstIndex(where: { has($0, name) }) else {
      append(name, value)
      if name.first == UInt8(ascii: ":"), entries.count > 1 { entries.insert(entries.removeLast(), at: 0) }
      return true
    }
    arena.reserve(value.count, spare)
    let at = arena.append(value)
    entries[first].value = at
    entries[first].valueLength = value.count
    var kept = first &+ 1
    for position in (first &+ 1)..<entries.count where !has(entries[position], name) {
      entries[kept] = entries[position]
      kept &+= 1
    }
    entries.removeLast(entries.count &- kept)
    count = entries.count
    fieldBytes &+= change
    return true
  }

  /// Removes every entry of that name.
  func remove(_ name: UnsafeRawBufferPointer) {
    guard first(named: name) != nil else { return }
    index()
    entries.removeAll { entry in
      guard has(entry, name) else { return false }
      fieldBytes &-= entry.nameLength &+ entry.valueLength
      return true
    }
    count = entries.count
  }

  // MARK: Serialized pairs

  /// The size of the map as serialized pairs; 0 where it is empty.
  var serializedBytes: Int { count == 0 ? 0 : 4 &+ count &* 10 &+ fieldBytes }

  /// Writes the map as serialized pairs.
  ///
  /// - Returns: false where the room is not exactly `serializedBytes`.
  func write(to room: UnsafeMutableRawBufferPointer) -> Bool {
    let size = serializedBytes
    guard room.count == size else { return false }
    guard size > 0 else { return true }
    if !isIndexed {
      room.copyMemory(from: arena.bytes)
      return true
    }
    room.storeBytes(of: UInt32(truncatingIfNeeded: count).littleEndian, as: UInt32.self)
    var lengths = 4
    var at = 4 &+ count &* 8
    for entry in entries {
      for (offset, length) in [(entry.name, entry.nameLength), (entry.value, entry.valueLength)] {
        room.storeBytes(of: UInt32(truncatingIfNeeded: length).littleEndian, toByteOffset: lengths, as: UInt32.self)
        lengths &+= 4
        UnsafeMutableRawBufferPointer(rebasing: room[at..<(at &+ length)]).copyMemory(from: arena.slice(offset, length))
        at &+= length
        room[at] = 0
        at &+= 1
      }
    }
    return true
  }
}
