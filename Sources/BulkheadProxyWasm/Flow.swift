import BulkheadCore
import BulkheadWire
import ProxyWasmABI

/// One of the two ways through a stream: the request, or what the client sends over a connection; the response, or what
/// the upstream sends. Each goes its own pace: one may wait while the other runs. One thread.
final class Flow {
  let headers: HeaderMap
  let trailers: HeaderMap
  var body: BodyBuffer

  init(_ blocks: BodyBlocks, _ spare: SpareMemory) {
    headers = HeaderMap(spare)
    trailers = HeaderMap(spare)
    body = BodyBuffer(blocks)
  }

  /// Its callback runs now.
  private(set) var isRunning = false
  /// A callback of it paused, and nothing has resumed it since.
  private(set) var isPaused = false
  /// The head (headers, a new connection) waits, and what follows it in the front.
  private(set) var isPausedAtHead = false
  /// The plugin holds its bytes: a callback about them runs, or paused.
  private(set) var hasBody = false
  /// Those bytes are the last ones and no trailers follow: the plugin may make some.
  private(set) var mayMakeTrailers = false

  /// Whether the plugin may change it: while a callback of it runs, or after one that paused.
  @inline(__always)
  var isOpen: Bool { isRunning || isPaused }

  /// A callback begins.
  @inline(__always)
  func enter() { isRunning = true }

  /// A callback about a piece of the body begins.
  ///
  /// - Returns: false where there is no memory for the piece.
  func enter(piece: UnsafeRawBufferPointer, isLast: Bool) -> Bool {
    isRunning = true
    hasBody = true
    mayMakeTrailers = isLast
    return body.begin(piece)
  }

  /// The callback is over.
  ///
  /// - Returns: false where there is no memory for what it holds back.
  @inline(__always)
  func leave(_ action: Action, isHead: Bool) -> Bool {
    isRunning = false
    isPaused = action != .proceed
    // A body whose callbacks come ahead of a head that stopped holds that back too.
    isPausedAtHead = isPaused && (isHead || isPausedAtHead)
    guard hasBody else { return true }
    switch action {
    case .proceed: letGo()
    case .pause, .stopIteration: return body.keep()
    case .watermark, .noBuffer: body.forget()
    }
    return true
  }

  /// What it waited with goes on, or nowhere: it waits no more. In its running callback that callback's end decides
  /// over its bytes.
  func resume() {
    isPaused = false
    isPausedAtHead = false
    if !isRunning { letGo() }
  }

  private func letGo() {
    hasBody = false
    mayMakeTrailers = false
    body.forget()
  }

  /// The front is done with it: from now on its headers and trailers can be read, no more.
  func close() {
    isRunning = false
    isPaused = false
    isPausedAtHead = false
    if hasBody { letGo() }
  }

  /// Forgets all.
  ///
  /// - Parameter spare: the most memory of its headers that stays for the next stream.
  func clear(keeping spare: Int = KeptBytes.spare) {
    close()
    headers.clear(keeping: spare)
    if trailers.isAvailable { trailers.clear(keeping: 0) }
  }

  /// The trailers, to be changed: those that came, or new ones behind the last bytes.
  func editableTrailers() -> HeaderMap? {
    guard isOpen else { return nil }
    if !trailers.isAvailable {
      guard hasBody, mayMakeTrailers else { return nil }
      trailers.load(UnsafeRawBufferPointer(start: nil, count: 0), count: 0)
    }
    return trailers
  }
}
