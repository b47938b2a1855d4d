import BulkheadCore
import BulkheadWire

/// Does to the front's own headers what a plugin did to its copy.
///
/// What a plugin may not do is left out and counted: an invalid name or value, taking a pseudo-header away. Headers that
/// say where a message ends, or who calls, belong to the front: edits of them are left out silently. But `content-length` may be taken
/// away, by plugins that change the length of a body: the message then ends in another way.
enum HeaderEdits {
  /// The maps that edits go to; edits of those that are nil are left out.
  struct Maps {
    var request: HeaderMap?
    var response: HeaderMap?
    var requestTrailers: HeaderMap?
    var responseTrailers: HeaderMap?

    fileprivate subscript(map: EditedMap) -> HeaderMap? {
      switch map {
      case .requestHeaders: request
      case .requestTrailers: requestTrailers
      case .responseHeaders: response
      case .responseTrailers: responseTrailers
      }
    }

    fileprivate func each(_ body: (HeaderMap) -> Void) {
      if let request { body(request) }
      if let response { body(response) }
      if let requestTrailers { body(requestTrailers) }
      if let responseTrailers { body(responseTrailers) }
    }
  }

  enum Result: Equatable {
    /// All but that many were done.
    case applied(dropped: Int)
    /// The map would have more entries or bytes than a header map may.
    case outOfBounds
    /// The edits would look through more entries than one reply may.
    case tooMuchWork
  }

  /// - Parameters:
  ///   - maximumBytes: of one map's names and values.
  ///   - looked: counts the entries that were looked through for the reply, up to `FloodGuard.looksPerReply`.
  static func apply(
    _ outcome: PluginOutcome, to maps: Maps, maximumBytes: Int, looked: inout Int
  ) -> Result {
    guard outcome.editCount > 0 else { return .applied(dropped: 0) }
    // Where the edits could leave the bounds, the maps are kept as they are, to go on with them if they do.
    let bytes = outcome.editBytes
    var isSafe = true
    maps.each { map in
      if map.byteCount &+ bytes > maximumBytes
        || map.entries.count &+ bytes / 8 &+ outcome.editCount > Limits.maximumPairs
        || looked &+ (map.entries.count &+ outcome.editCount) &* outcome.editCount > FloodGuard.looksPerReply
      {
        isSafe = false
      }
    }
    var before: [(HeaderMap, [UInt8], Bool)] = []
    if !isSafe { maps.each { before.append(($0, $0.snapshot(), $0.lengthWasRemoved)) } }
    var dropped = 0
    var inBounds = true
    var work = looked
    outcome.forEachOperation { edit in
      guard inBounds, let target = edit.map, let map = maps[target] else { return }
      let (entries, bytes) = (map.entries.count, map.byteCount)
      // Whatever is not put at the end is looked for.
      work &+= edit.code == .add ? 1 : entries
      guard work <= FloodGuard.looksPerReply else {
        inBounds = false
        return
      }
      if !apply(edit, to: map, target) { dropped += 1 }
      // What makes a map no larger may be done to one of any size: it came so.
      inBounds =
        map.entries.count <= max(Limits.maximumPairs, entries) && map.byteCount <= max(maximumBytes, bytes)
    }
    looked = work
    if inBounds {
      maps.each { $0.squeeze() }
      return .applied(dropped: dropped)
    }
    for (map, kept, lengthWasRemoved) in before {
      map.restore(kept)
      map.lengthWasRemoved = lengthWasRemoved
    }
    return work <= FloodGuard.looksPerReply ? .outOfBounds : .tooMuchWork
  }

  /// - Returns: false where the edit is not one that may be done.
  private static func apply(_ edit: ReplyOperation, to map: HeaderMap, _ target: EditedMap) -> Bool {
    switch edit.code {
    case .set: return replaceAll(of: map, with: edit.value, target)
    case .add: return put(edit.key, edit.value, into: map, target, replacing: false)
    case .replace: return put(edit.key, edit.value, into: map, target, replacing: true)
    case .splice, .setProperty, .httpCall, .grpcStart, .grpcSend, .grpcClose, .grpcCancel, .incrementMetric,
      .recordMetric, .overrideHost:
      return true
    case .remove:
      return withLowerCase(edit.key) { key in
        let name = HeaderName(key)
        if name.isPseudo { return false }
        if name == .contentLength {
          let before = map.entries.count
          map.removeAll { $0.name == .contentLength }
          if map.entries.count < before { map.lengthWasRemoved = true }
          return true
        }
        if name.isOfFront { return true }
        map.removeAll { map.key($0).equals(key) }
        return true
      }
    }
  }

  private static func put(
    _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, into map: HeaderMap, _ target: EditedMap,
    replacing: Bool
  ) -> Bool {
    withLowerCase(key) { key in
      let name = HeaderName(key)
      if name.isOfFront { return true }
      if name.isPseudo { return setPseudo(name, value, of: map, target) }
      guard HeaderRules.isName(key), HeaderRules.isValue(value) else { return false }
      if !replacing || !map.replace(key, value) { map.append(key, value, name: name) }
      return true
    }
  }

  private static func setPseudo(
    _ name: HeaderName, _ value: UnsafeRawBufferPointer, of map: HeaderMap, _ target: EditedMap
  ) -> Bool {
    guard let pseudo = name.pseudo, HeaderRules.allows(pseudo, value, in: target.rules) else { return false }
    map.set(name, pseudo.text, value)
    return true
  }

  /// A new map: what the plugin may not touch stays as it is, the rest is as it says.
  private static func replaceAll(of map: HeaderMap, with block: UnsafeRawBufferPointer, _ target: EditedMap) -> Bool {
    guard let pairs = try? PairsView(block) else { return false }
    map.removeAll { !$0.name.isPseudo && !$0.name.isOfFront }
    var valid = true
    // swift-format-ignore: ReplaceForEachWithForLoop
    pairs.forEach { key, value in
      if !put(key, value, into: map, target, replacing: false) { valid = false }
    }
    return valid
  }

  private static func withLowerCase(_ key: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) -> Bool) -> Bool {
    if key.allSatisfy({ ASCII.lower($0) == $0 }) { return body(key) }
    return withUnsafeTemporaryAllocation(byteCount: key.count, alignment: 1) { copy in
      for index in 0..<key.count { copy[index] = ASCII.lower(key[index]) }
      return body(UnsafeRawBufferPointer(copy))
    }
  }
}
