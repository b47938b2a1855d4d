import BulkheadConfig
import BulkheadCore
import BulkheadPolicy
import BulkheadWire

extension FrontBootstrap {
  /// What the front needs to know of a configuration.
  ///
  /// - Parameter plugins: in the order of the chain, each with what its module exports.
  /// - Throws: `StartError` (configuration) where a listener names an upstream that is none.
  init(
    _ configuration: Configuration, plugins: [(manifest: PluginManifest, policy: CrashPolicy, callbacks: CallbackSet)],
    logLevel: LogLevel, maximumSpinMicroseconds: UInt32
  ) throws(StartError) {
    let upstreams = Set(configuration.upstreams.map(\.name))
    for listener in configuration.listeners where !upstreams.contains(listener.upstream) {
      throw StartError(
        ExitCode.configuration, listener.location,
        "listener '\(listener.name)': there is no upstream '\(listener.upstream)'")
    }
    self.init(
      eventLoops: UInt32(clamping: configuration.eventLoops), maximumSpinMicroseconds: maximumSpinMicroseconds,
      logLevel: logLevel, listeners: configuration.listeners.map(\.listener),
      upstreams: configuration.upstreams.map(\.upstream),
      plugins: plugins.map {
        var plugin = Plugin(
          name: $0.manifest.name, failStrategy: $0.manifest.failStrategy,
          callbacks: $0.callbacks.called(for: $0.manifest.type, allowedBy: $0.policy),
          callbackDeadline: $0.policy.callbackDeadline.wholeMilliseconds,
          admissionWait: $0.policy.admissionWait.close.wholeMilliseconds)
        plugin.openAdmissionWait = $0.policy.admissionWait.open.wholeMilliseconds
        plugin.vmID = $0.manifest.vmID
        plugin.callsInFlight = $0.policy.callsInFlight
        plugin.bufferBytes = $0.policy.bufferBytes
        plugin.failAnswer = FailAnswer(
          status: UInt32(clamping: $0.policy.failAnswer.status), body: $0.policy.failAnswer.body)
        plugin.quarantineStrategy = $0.policy.exhaustion.strategy
        plugin.workers = UInt32(clamping: min(max($0.policy.workers, 1), Limits.maximumWorkers))
        plugin.deadlines = Deadlines($0.policy)
        plugin.renews = $0.policy.renewals > 0
        plugin.startDeadline = $0.policy.startDeadline.wholeMilliseconds
        plugin.grace = $0.policy.grace.wholeMilliseconds
        plugin.slow = $0.policy.slow?.wholeMilliseconds ?? 0
        plugin.virtualMachines = $0.policy.virtualMachines.number
        plugin.overload = $0.policy.overload
        plugin.upstreams = $0.policy.upstreams
        if $0.policy.suspects.lane {
          plugin.suspectMemory = $0.policy.suspects.memory.wholeMilliseconds
          plugin.suspectsAtMost = UInt32(clamping: min($0.policy.suspects.most, Limits.maximumSuspects))
        }
        return plugin
      },
      timeouts: configuration.timeouts, bounds: configuration.bounds,
      ring: RingSizes(policies: plugins.map(\.policy)))
    accessLogFields = configuration.accessLog?.fields
  }
}

extension FrontBootstrap {
  /// What a front is to know of a chain.
  ///
  /// - Throws: `StartError` (configuration) where a listener names an upstream that is none.
  init(
    _ configuration: Configuration, _ plugins: [PluginRuntime], logLevel: LogLevel, maximumSpinMicroseconds: UInt32
  ) throws(StartError) {
    try self.init(
      configuration, plugins: plugins.map { ($0.manifest, $0.policy, $0.artifact?.callbacks ?? []) },
      logLevel: logLevel, maximumSpinMicroseconds: maximumSpinMicroseconds)
    for (place, plugin) in plugins.enumerated() {
      self.plugins[place].number = plugin.number
      self.plugins[place].keepsStreams = plugin.artifact?.keepsStreams(under: plugin.policy) ?? true
    }
  }
}

extension FrontBootstrap.Deadlines {
  init(_ policy: CrashPolicy) {
    self.init()
    headers = policy.deadline(of: .headers)?.wholeMilliseconds ?? 0
    body = policy.deadline(of: .body)?.wholeMilliseconds ?? 0
    log = policy.deadline(of: .log)?.wholeMilliseconds ?? 0
    tick = policy.deadline(of: .tick)?.wholeMilliseconds ?? 0
  }
}

extension CallbackSet {
  /// Of these exports, what a plugin of that type is called for and its policy allows. The creation of contexts is never
  /// restricted.
  func called(for type: PluginType, allowedBy policy: CrashPolicy) -> CallbackSet {
    let ofStreams = CallbackSet.http.union(.network)
    let ofType = subtracting(ofStreams).union(intersection(type.streamCallbacks))
    guard let capabilities = policy.capabilities else { return ofType }
    return ofType.intersection(CallbackSet(exports: capabilities).union(.contextCreate))
  }
}

extension CrashPolicy {
  /// Whether a plugin with these imports may make that hostcall.
  func allows(_ hostcall: String, imports: [String]) -> Bool {
    imports.contains { $0.hasSuffix(".\(hostcall)") } && capabilities?.contains(hostcall) ?? true
  }

  /// Those of the configuration's upstreams that the policy allows.
  func allowed(_ upstreams: [String]) -> [String] {
    guard let allowed = self.upstreams.map(Set.init) else { return upstreams }
    return upstreams.filter { allowed.contains($0) }
  }

  /// `bufferLimit` as it travels.
  var bufferBytes: UInt32 { UInt32(clamping: min(bufferLimit.bytes, UInt64(Limits.maximumBufferBytes))) }
}

extension RingSizes {
  /// Rings that take what any plugin under one of the policies may hold, each as large as the largest that a policy asks
  /// for: all channels of a front are of one size.
  init(policies: some Sequence<CrashPolicy>) {
    self.init(bufferBytes: policies.map(\.bufferBytes).max() ?? 0)
    let largest: (KeyPath<CrashPolicy.Rings, ByteCount?>) -> UInt32? = { ring in
      policies.map { policy in
        policy.rings[keyPath: ring].map { UInt32(clamping: $0.bytes) }
          ?? RingSizes(bufferBytes: policy.bufferBytes).callbacks
      }.max()
    }
    callbacks = largest(\.callbacks) ?? callbacks
    replies = largest(\.replies) ?? replies
  }
}

extension Duration {
  /// In seconds, for people and machines.
  var inSeconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }

  /// For people: `100 ms`, `5 s`.
  var text: String {
    components.attoseconds == 0 ? "\(components.seconds) s" : "\(wholeMilliseconds) ms"
  }
}
