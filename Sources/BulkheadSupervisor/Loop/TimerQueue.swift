/// What is due when: a binary heap of moments with a token each. It has no clock.
struct TimerQueue {
  /// Names one timer; never used twice.
  struct Token: Hashable {
    fileprivate var number: UInt64
  }

  private var heap: [(at: Duration, token: Token)] = []
  /// Timers that are neither due nor cancelled; a cancelled one stays in the heap until its time.
  private var live: Set<Token> = []
  private var next: UInt64 = 0

  /// How many timers wait.
  var count: Int { live.count }

  /// Adds a timer.
  mutating func add(at time: Duration) -> Token {
    next += 1
    let token = Token(number: next)
    live.insert(token)
    heap.append((time, token))
    siftUp(heap.count - 1)
    return token
  }

  /// Takes the timer away; nothing where it is gone already.
  mutating func cancel(_ token: Token) {
    live.remove(token)
    // Whoever arms and cancels all the time must not fill the heap with timers of the far future.
    if heap.count > 64, heap.count > 2 * live.count {
      heap.removeAll { !live.contains($0.token) }
      for index in heap.indices { siftUp(index) }
    }
  }

  /// When the next timer is due.
  mutating func nextTime() -> Duration? {
    while let first = heap.first, !live.contains(first.token) { removeFirst() }
    return heap.first?.at
  }

  /// The next timer that is due at that time, which is then gone.
  mutating func popDue(at now: Duration) -> Token? {
    guard let time = nextTime(), time <= now, let token = heap.first?.token else { return nil }
    removeFirst()
    live.remove(token)
    return token
  }

  private mutating func removeFirst() {
    let last = heap.removeLast()
    guard !heap.isEmpty else { return }
    heap[0] = last
    siftDown(0)
  }

  /// Timers of the same time come in the order in which they were added.
  private func before(_ left: Int, _ right: Int) -> Bool {
    (heap[left].at, heap[left].token.number) < (heap[right].at, heap[right].token.number)
  }

  private mutating func siftUp(_ start: Int) {
    var index = start
    while index > 0 {
      let parent = (index - 1) / 2
      guard before(index, parent) else { return }
      heap.swapAt(index, parent)
      index = parent
    }
  }

  private mutating func siftDown(_ start: Int) {
    var index = start
    while true {
      var least = index
      for child in [2 * index + 1, 2 * index + 2] where child < heap.count && before(child, least) { least = child }
      guard least != index else { return }
      heap.swapAt(index, least)
      index = least
    }
  }
}
