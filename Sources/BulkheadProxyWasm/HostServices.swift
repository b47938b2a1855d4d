import BulkheadCore
import BulkheadWire
import ProxyWasmABI

/// What the host of one plugin needs from the process around it.
public protocol HostServices: AnyObject {
  /// A line of the plugin's log, already known to be of a level that is wanted; valid during the call.
  func log(_ line: PluginLine)

  /// A reply record for the front's event loop.
  func reply(_ record: UnsafeRawBufferPointer, loop: Int)

  /// Puts a question to the front and waits for its answer.
  ///
  /// - Parameters:
  ///   - loop: the event loop to ask.
  ///   - number, key, value, extra: as `HostcallRequest` has them for the call; the record fits the reply ring.
  /// - Returns: the answer, valid until the next question; nil where none came: the guest is to end, or the channel is broken.
  func ask(
    _ call: HostcallRequest.Call, number: UInt64, key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer,
    extra: UnsafeRawBufferPointer, loop: Int
  ) -> HostcallAnswer?

  /// The plugin set its tick period; 0 turns ticks off.
  func tickPeriodChanged(milliseconds: UInt32)

  /// CLOCK_REALTIME, ns.
  func realtimeNanoseconds() -> UInt64

  /// CLOCK_MONOTONIC, ns.
  func monotonicNanoseconds() -> UInt64

  /// The least level of log that is wanted by now; nil where that is still `PluginConfiguration.logLevel`.
  var logLevel: LogLevel? { get }

  /// Whether the callback that runs is to end: the guest will as soon as its code runs again.
  var isInterrupted: Bool { get }

  /// Fills the bytes with randomness; false where there is none to be had.
  func fillRandom(_ bytes: UnsafeMutableRawBufferPointer) -> Bool
}

/// What a plugin is told of itself, and its bounds.
public struct PluginConfiguration: Sendable {
  /// `plugin_name`.
  public var name: String
  /// `plugin_root_id`.
  public var rootID: String
  /// `plugin_vm_id`.
  public var vmID: String
  /// Buffer 7, told to `proxy_on_configure`.
  public var pluginConfiguration: [UInt8]
  /// Buffer 6, told to `proxy_on_vm_start`.
  public var vmConfiguration: [UInt8]
  /// What the module was built for.
  public var abi = ABIVersion.version021
  /// 1 from a callback about headers is `StopIteration` (`ABIVersion.headersStopIteration`, or the manifest says so).
  public var headersStopIteration = false
  /// The most of a body, in bytes, that a callback may hold back.
  public var bufferBytes = Limits.defaultBufferBytes
  /// The most that the names and values of one header map may have after an edit, in bytes.
  public var maximumMapBytes = Limits.maximumPairsBytes
  /// The hostcalls, WASI calls and callbacks that the plugin may use, by their names; nil: all of them.
  public var capabilities: [String]?
  /// What WASI's `environ_get` gives.
  public var environment: [(name: String, value: String)]
  /// The upstreams that the plugin may call, and whose endpoints it may ask for and choose among.
  public var upstreams: Set<String> = []
  /// There are others, which its policy does not allow; else it may choose among the endpoints of any.
  public var restrictsUpstreams = false
  /// Calls out that may be in flight at once.
  public var callsInFlight = Limits.defaultCallsInFlight
  /// Lines below it are taken and not passed on, unless `HostServices.logLevel` says otherwise by then.
  public var logLevel: LogLevel
  /// The largest record of a ring, in bytes: what one question to the front and one call out may have.
  public var maximumRecord: Int
  /// What one callback may say in all, in bytes: it goes in as many records as it takes.
  public var maximumReply = Limits.maximumReplyBytes
  /// Streams that the plugin may have contexts for at once.
  public var maximumStreams = 65_536
  /// Streams that it may hold on to after their end (`proxy_on_done` that returned false) at once; the one held longest
  /// is ended when there is one more.
  public var maximumHeldStreams = 1_024
  /// What those may take, in bytes; as above.
  public var maximumHeldBytes = 16 << 20
  /// The properties that the plugin set itself, of all streams, in bytes.
  public var maximumOwnPropertyBytes = 32 << 20
  /// The plugin may ask for something of a stream after it has let the request's headers pass; else what is kept of them
  /// goes then.
  public var keepsStreams = true

  /// The plugin's own names and bytes; every bound begins with its default, and the caller sets those that differ.
  public init(
    name: String, rootID: String, vmID: String, pluginConfiguration: [UInt8] = [], vmConfiguration: [UInt8] = [],
    environment: [(name: String, value: String)] = [], logLevel: LogLevel = .info, maximumRecord: Int
  ) {
    self.name = name
    self.rootID = rootID
    self.vmID = vmID
    self.pluginConfiguration = pluginConfiguration
    self.vmConfiguration = vmConfiguration
    self.environment = environment
    self.logLevel = logLevel
    self.maximumRecord = maximumRecord
  }
}
