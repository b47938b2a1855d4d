import BulkheadCore
import BulkheadWire
import DequeModule

/// The shared data and the queues of one vm_id, within their bounds.
///
/// A value without locks, clocks or I/O: `SharedState` has the lock. Numbers of queues count from 0 and stay.
struct SharedStore: Sendable {
  /// Why something is not stored.
  enum Refusal: Error, Equatable {
    case status(HostcallStatus)
    case bound(SharedBound)
  }

  private struct Entry {
    var value: [UInt8]
    var cas: UInt32
  }

  private struct Message {
    var bytes: [UInt8]
    /// The number of the plugin that it is from, where that is one of another vm_id.
    var sender: Int?
  }

  private struct Queue {
    /// `SharedPlugin.number` of the plugin that registered it last, which is told of messages.
    var registrant: Int
    var messages = Deque<Message>()
    /// The worker of the registrant that was told of what is in the queue, 0 for none.
    var notified: UInt64 = 0
    /// Messages of which `notified` is still to be told.
    var owed = 0
  }

  private let maximumBytes: UInt64
  private let maximumEntries: UInt32
  private let maximumQueues: UInt32
  private let maximumValue: Int
  private var data: [[UInt8]: Entry] = [:]
  private var lastCAS: UInt32 = 0
  private var queues: [Queue] = []
  private var queueNumbers: [[UInt8]: Int] = [:]
  /// Of all keys, values and messages.
  private(set) var bytes: UInt64 = 0
  /// Entries of shared data and messages.
  private(set) var entries: UInt32 = 0

  /// Messages and their bytes.
  private struct Amount {
    var messages: UInt32 = 0
    var bytes: UInt64 = 0

    mutating func add(_ message: [UInt8]) {
      messages &+= 1
      bytes &+= UInt64(message.count)
    }

    mutating func remove(_ message: [UInt8]) {
      messages &-= 1
      bytes &-= UInt64(message.count)
    }
  }

  /// Messages from plugins of other vm_ids: they have a share of their own, so that nobody fills the store of others, and
  /// each of those plugins at most half of what the others leave of it, so that no one of them fills it for the rest.
  private var foreign = Amount()
  private var foreignBySender: [Int: Amount] = [:]
  private static let foreignShare: UInt32 = 4

  /// - Parameter maximumValue: of a value or a message, in bytes: what an answer has room for.
  init(_ bounds: Bounds, maximumValue: Int = Limits.maximumSharedValue) {
    self.maximumValue = min(maximumValue, Limits.maximumSharedValue)
    maximumBytes = bounds.sharedBytes.bytes
    maximumEntries = UInt32(clamping: bounds.sharedEntries)
    maximumQueues = UInt32(clamping: bounds.queues)
  }

  /// Counts one more entry, or some bytes more or less of one that is there.
  private mutating func charge(entry: Bool, adding: Int, removing: Int = 0) throws(Refusal) {
    if entry, entries >= maximumEntries { throw .bound(.sharedEntries(maximumEntries)) }
    let total = bytes &- UInt64(removing) &+ UInt64(adding)
    guard adding <= removing || total <= maximumBytes else { throw .bound(.sharedBytes(maximumBytes)) }
    bytes = total
    if entry { entries &+= 1 }
  }

  // MARK: Shared data

  /// Stores a value; a `cas` other than 0 must be the one of the value that is there, and is passed over where none is.
  ///
  /// - Returns: the value that was there before, so that its memory is given back outside the lock.
  /// - Throws: CAS_MISMATCH, or the bound that it would break; then nothing is changed.
  mutating func set(_ key: [UInt8], _ value: [UInt8], cas: UInt64) throws(Refusal) -> [UInt8]? {
    guard key.count <= Limits.maximumSharedKey else { throw .bound(.keyBytes(Limits.maximumSharedKey)) }
    guard value.count <= maximumValue else { throw .bound(.valueBytes(maximumValue)) }
    let old = data[key]
    if let old {
      if cas != 0, cas != UInt64(old.cas) { throw .status(.casMismatch) }
      try charge(entry: false, adding: value.count, removing: old.value.count)
    } else {
      try charge(entry: true, adding: key.count + value.count)
    }
    data[key] = Entry(value: value, cas: nextCAS())
    return old?.value
  }

  /// One that no value has; never 0.
  private mutating func nextCAS() -> UInt32 {
    lastCAS &+= 1
    if lastCAS == 0 { lastCAS = 1 }
    return lastCAS
  }

  /// The value and its cas, which is never 0.
  func get(_ key: [UInt8]) -> (value: [UInt8], cas: UInt32)? { data[key].map { ($0.value, $0.cas) } }

  // MARK: Queues

  /// Makes the queue, or takes over the one of that name with what is in it.
  ///
  /// - Parameter plugin: its `SharedPlugin.number`; it is told of messages from now on.
  mutating func register(_ name: [UInt8], plugin: Int) throws(Refusal) -> Int {
    if let number = queueNumbers[name] {
      if queues[number].registrant != plugin {
        queues[number].registrant = plugin
        queues[number].notified = 0
      }
      return number
    }
    guard name.count <= Limits.maximumSharedKey else { throw .bound(.keyBytes(Limits.maximumSharedKey)) }
    guard queues.count < Int(maximumQueues) else { throw .bound(.queues(maximumQueues)) }
    let total = bytes &+ UInt64(name.count)
    guard total <= maximumBytes else { throw .bound(.sharedBytes(maximumBytes)) }
    bytes = total
    queueNumbers[name] = queues.count
    queues.append(Queue(registrant: plugin))
    return queues.count - 1
  }

  func resolve(_ name: [UInt8]) -> Int? { queueNumbers[name] }

  /// Appends a message.
  ///
  /// - Parameter sender: the number of the plugin that it is from, where that is one of another vm_id.
  /// - Returns: the plugin that is to be told, by `takeOwed`.
  /// - Throws: NOT_FOUND, or the bound that it would break.
  mutating func enqueue(_ number: Int, _ message: [UInt8], from sender: Int? = nil) throws(Refusal) -> Int {
    guard queues.indices.contains(number) else { throw .status(.notFound) }
    guard message.count <= maximumValue else { throw .bound(.valueBytes(maximumValue)) }
    if let sender { try checkShare(of: sender, for: message) }
    try append(message, to: number, from: sender)
    return queues[number].registrant
  }

  /// Puts a message last, and counts it; a queue of that number has to be there.
  private mutating func append(_ message: [UInt8], to number: Int, from sender: Int?) throws(Refusal) {
    try charge(entry: true, adding: message.count)
    if let sender {
      foreign.add(message)
      foreignBySender[sender, default: Amount()].add(message)
    }
    queues[number].messages.append(Message(bytes: message, sender: sender))
    queues[number].owed += 1
  }

  /// Whether a plugin of another vm_id may put in one message more: then it has no more than is left for the others.
  private func checkShare(of sender: Int, for message: [UInt8]) throws(Refusal) {
    let mostMessages = max(maximumEntries / Self.foreignShare, 1)
    let mostBytes = maximumBytes / UInt64(Self.foreignShare)
    let own = foreignBySender[sender] ?? Amount()
    let leftMessages = mostMessages &- min(foreign.messages, mostMessages)
    let leftBytes = mostBytes &- min(foreign.bytes, mostBytes)
    guard own.messages < leftMessages else { throw .bound(.foreignMessages(mostMessages)) }
    guard own.bytes &+ UInt64(message.count) <= leftBytes else { throw .bound(.foreignBytes(mostBytes)) }
  }

  /// Takes the first message.
  ///
  /// - Throws: NOT_FOUND or EMPTY.
  mutating func dequeue(_ number: Int) throws(Refusal) -> [UInt8] {
    guard queues.indices.contains(number) else { throw .status(.notFound) }
    guard let message = queues[number].messages.popFirst() else { throw .status(.empty) }
    bytes &-= UInt64(message.bytes.count)
    entries &-= 1
    if let sender = message.sender {
      foreign.remove(message.bytes)
      foreignBySender[sender]?.remove(message.bytes)
      if foreignBySender[sender]?.messages == 0 { foreignBySender[sender] = nil }
    }
    // Nobody is told late of what is not there any more.
    queues[number].owed = min(queues[number].owed, queues[number].messages.count)
    return message.bytes
  }

  // MARK: From one front to the next

  /// All of it.
  ///
  /// - Parameters:
  ///   - name: of its vm_id, or of its plugin.
  ///   - plugins: the names of plugins by their numbers.
  func carried(_ name: String, isVM: Bool, plugins: [Int: String]) -> CarriedState.Store {
    let names = queueNumbers.sorted { $0.value < $1.value }
    return CarriedState.Store(
      name: name, isVM: isVM, lastCAS: lastCAS,
      entries: data.map { .init(key: $0.key, value: $0.value.value, cas: $0.value.cas) },
      queues: names.map { name, number in
        .init(
          name: name, registrant: plugins[queues[number].registrant] ?? "",
          messages: queues[number].messages.map {
            .init(bytes: $0.bytes, sender: $0.sender.map { plugins[$0] ?? "" } ?? "")
          })
      })
  }

  /// Takes over what the front before had: its values in place of those that are there, its messages before them.
  ///
  /// - Parameter plugin: the number of the plugin of that name; nil where there is none.
  /// - Returns: how many values, messages and queues had no room, or nobody to tell of them.
  mutating func takeOver(_ store: CarriedState.Store, plugin: (String) -> Int?) -> Int {
    var lost = 0
    let given = lastCAS
    lastCAS = max(lastCAS, store.lastCAS)
    for entry in store.entries where !takeOver(entry, given: given) { lost += 1 }
    for queue in store.queues { lost += takeOver(queue, plugin: plugin) }
    return lost
  }

  /// - Parameter given: the last cas that this store has given: one up to it may stand for another value here.
  private mutating func takeOver(_ entry: CarriedState.Entry, given: UInt32) -> Bool {
    let old = data[entry.key]
    guard entry.key.count <= Limits.maximumSharedKey, entry.value.count <= maximumValue else { return false }
    do throws(Refusal) {
      try charge(
        entry: old == nil, adding: entry.value.count + (old == nil ? entry.key.count : 0),
        removing: old?.value.count ?? 0)
    } catch { return false }
    data[entry.key] = Entry(value: entry.value, cas: entry.cas <= given ? nextCAS() : entry.cas)
    return true
  }

  private mutating func takeOver(_ queue: CarriedState.Queue, plugin: (String) -> Int?) -> Int {
    var number = queueNumbers[queue.name]
    if number == nil, let registrant = plugin(queue.registrant) {
      do throws(Refusal) { number = try register(queue.name, plugin: registrant) } catch {}
    }
    guard let number else { return 1 + queue.messages.count }
    let own = queues[number].messages
    queues[number].messages = Deque()
    var lost = 0
    for message in queue.messages {
      do throws(Refusal) {
        guard message.bytes.count <= maximumValue else { throw .bound(.valueBytes(maximumValue)) }
        try append(
          message.bytes, to: number, from: message.sender.isEmpty ? nil : plugin(message.sender))
      } catch { lost += 1 }
    }
    queues[number].messages.append(contentsOf: own)
    return lost
  }

  // MARK: Notifications

  /// How many notifications of the queue are to be sent to that worker now; they count as sent.
  ///
  /// A worker that is new to the queue is told of all that is in it: what its predecessor was told died with it.
  ///
  /// - Parameters:
  ///   - worker: a ready worker of `plugin`; the numbers of workers rise, so a lower one is on its way out.
  ///   - most: no more than that; the others stay owed.
  mutating func takeOwed(_ number: Int, plugin: Int, worker: UInt64, most: Int) -> Int {
    guard queues.indices.contains(number), queues[number].registrant == plugin else { return 0 }
    guard worker >= queues[number].notified else { return 0 }
    if worker > queues[number].notified {
      queues[number].notified = worker
      queues[number].owed = queues[number].messages.count
    }
    let count = min(queues[number].owed, max(most, 0))
    queues[number].owed -= count
    return count
  }

  /// The queues with messages of which that worker is still to be told.
  func owing(plugin: Int, worker: UInt64) -> [Int] {
    queues.indices.filter { number in
      let queue = queues[number]
      guard queue.registrant == plugin else { return false }
      return queue.notified < worker ? !queue.messages.isEmpty : queue.notified == worker && queue.owed > 0
    }
  }

  /// The worker is lost, with all that it was told.
  mutating func workerLost(_ worker: UInt64) {
    for number in queues.indices where queues[number].notified == worker { queues[number].notified = 0 }
  }
}
