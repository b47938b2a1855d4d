import BulkheadCore

extension FrontBootstrap: WireCodable {
  static var blank: FrontBootstrap {
    FrontBootstrap(
      eventLoops: 1, maximumSpinMicroseconds: 0, logLevel: .info, listeners: [], upstreams: [], plugins: [])
  }

  mutating func code<Coder: WireCoder & ~Copyable>(_ coder: inout Coder) throws(Coder.Failure) {
    try coder.code(&eventLoops, "front.eventLoops")
    try coder.check((1...UInt32(Limits.maximumEventLoops)).contains(eventLoops), .tooLarge, "front.eventLoops")
    try coder.code(&maximumSpinMicroseconds, "front.spin")
    try coder.code(&logLevel, "front.logLevel")
    try coder.code(&listeners, "front.listeners", atMost: Limits.maximumListeners)
    try coder.code(&upstreams, "front.upstreams", atMost: Upstream.maximumCount)
    try coder.code(&plugins, "front.plugins", atMost: Limits.maximumPlugins)
    try coder.code(&timeouts)
    try coder.code(&bounds)
    try coder.code(&ring)
    try coder.code(&accessLogFields, "front.accessLogFields", atMost: 1_024)
    try coder.code(&seccompProgram, "front.seccompProgram", atMost: 8 * 4_096)
    try coder.check(seccompProgram.count % 8 == 0, .malformed, "front.seccompProgram")
    try coder.code(&unprivilegedID, "front.unprivilegedID")
    try coder.code(&holdsAccept, "front.holdsAccept")
  }
}

extension FrontBootstrap.Plugin: WireCodable {
  static var blank: Self {
    Self(name: "", failStrategy: .failClose, callbacks: [], callbackDeadline: 0, admissionWait: 0)
  }

  mutating func code<Coder: WireCoder & ~Copyable>(_ coder: inout Coder) throws(Coder.Failure) {
    try coder.code(&name, "plugin.name")
    try coder.code(&failStrategy, "plugin.failStrategy")
    var exports = callbacks.rawValue
    try coder.code(&exports, "plugin.callbacks")
    callbacks = CallbackSet(rawValue: exports)
    try coder.code(&callbackDeadline, "plugin.callbackDeadline")
    try coder.code(&admissionWait, "plugin.admissionWait")
    try coder.code(&vmID, "plugin.vmID")
    try coder.code(&callsInFlight, "plugin.callsInFlight")
    try coder.code(&bufferBytes, "plugin.bufferBytes")
    try coder.check(bufferBytes <= UInt32(Limits.maximumBufferBytes), .tooLarge, "plugin.bufferBytes")
    try coder.code(&failAnswer)
    try coder.code(&quarantineStrategy, "plugin.quarantineStrategy")
    try coder.code(&workers, "plugin.workers")
    try coder.check((1...UInt32(Limits.maximumWorkers)).contains(workers), .tooLarge, "plugin.workers")
    try coder.code(&renews, "plugin.renews")
    try coder.code(&startDeadline, "plugin.startDeadline")
    try coder.code(&grace, "plugin.grace")
    try coder.code(&slow, "plugin.slow")
    try coder.code(&virtualMachines, "plugin.virtualMachines")
    try coder.check(
      virtualMachines <= WorkerBootstrap.maximumVirtualMachines, .tooLarge, "plugin.virtualMachines")
    try coder.code(&deadlines)
    var wanted = number ?? .max
    try coder.code(&wanted, "plugin.number")
    number = wanted == .max ? nil : wanted
    try coder.code(&overload, "plugin.overload")
    try coder.code(&keepsStreams, "plugin.keepsStreams")
    try coder.code(&openAdmissionWait, "plugin.openAdmissionWait")
    try coder.code(&suspectMemory, "plugin.suspectMemory")
    try coder.code(&suspectsAtMost, "plugin.suspectsAtMost")
    try coder.check(suspectsAtMost <= UInt32(Limits.maximumSuspects), .tooLarge, "plugin.suspectsAtMost")
    var listsUpstreams = upstreams != nil
    var allowed = upstreams ?? []
    try coder.code(&listsUpstreams, "plugin.listsUpstreams")
    try coder.code(&allowed, "plugin.upstreams", atMost: Upstream.maximumCount)
    upstreams = listsUpstreams ? allowed : nil
  }
}

extension FrontBootstrap.Deadlines: WireCodable {
  static var blank: Self { Self() }

  mutating func code<Coder: WireCoder & ~Copyable>(_ coder: inout Coder) throws(Coder.Failure) {
    try coder.code(&headers, "deadlines.headers")
    try coder.code(&body, "deadlines.body")
    try coder.code(&log, "deadlines.log")
    try coder.code(&tick, "deadlines.tick")
  }
}

extension FrontBootstrap.FailAnswer: WireCodable {
  static var blank: Self { Self() }

  mutating func code<Coder: WireCoder & ~Copyable>(_ coder: inout Coder) throws(Coder.Failure) {
    try coder.code(&status, "failAnswer.status")
    try coder.check((400...599).contains(status), .unknownValue, "failAnswer.status")
    try coder.code(&body, "failAnswer.body")
    try coder.check(body?.utf8.count ?? 0 <= Limits.maximumFailAnswer, .tooLarge, "failAnswer.body")
  }
}
