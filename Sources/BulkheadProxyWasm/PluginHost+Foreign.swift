import BulkheadCore
import BulkheadWire
import ProxyWasmABI

/// The hostcall of section "Foreign function interface", with the functions that Envoy registers.
extension PluginHost {
  /// What a foreign function gives back.
  enum ForeignResult {
    case bytes([UInt8])
    case status(Status)
  }

  /// The functions, by their names.
  private enum Function: String {
    case compress
    case uncompress
    case sign
    case verifySignature = "verify_signature"
    case declareProperty = "declare_property"
    case setFilterState = "set_envoy_filter_state"
    case clearRouteCache = "clear_route_cache"
    case createExpression = "expr_create"
    case evaluateExpression = "expr_evaluate"
    case deleteExpression = "expr_delete"
  }

  /// Results are optional: an address of 0 leaves them out.
  func callForeign(_ memory: GuestMemory, _ a: HostcallArguments) throws(GuestStopped) -> Status {
    guard let name = memory.bytes(a[0], a[1]), let arguments = memory.bytes(a[2], a[3]) else {
      return .invalidMemoryAccess
    }
    let (resultAt, sizeAt) = (a[4], a[5])
    guard resultAt == 0 || memory.contains(resultAt, 4), sizeAt == 0 || memory.contains(sizeAt, 4) else {
      return .invalidMemoryAccess
    }
    guard name.count <= 64, let function = Function(rawValue: String(decoding: name, as: UTF8.self)) else {
      return .notFound
    }
    switch call(function, arguments) {
    case .bytes(let bytes): return try give(bytes, resultAt, sizeAt)
    case .status(let status):
      _ = try give([], resultAt, sizeAt)
      return status
    }
  }

  private func give(_ bytes: [UInt8], _ resultAt: UInt32, _ sizeAt: UInt32) throws(GuestStopped) -> Status {
    if resultAt != 0, sizeAt != 0 {
      return try give(count: bytes.count, resultAt, sizeAt) { room in
        room.copyBytes(from: bytes)
        return true
      }
    }
    var memory = guest.memory
    if resultAt != 0 {
      // The guest knows how long it is.
      var address: UInt32 = 0
      if let size = UInt32(exactly: bytes.count), size > 0 {
        address = try allocate(size)
        memory = guest.memory
        guard address != 0, let room = memory.mutableBytes(address, size) else { return .invalidMemoryAccess }
        room.copyBytes(from: bytes)
      }
      return store(address, at: resultAt, memory)
    }
    return sizeAt == 0 ? .ok : store(UInt32(clamping: bytes.count), at: sizeAt, memory)
  }

  private func call(_ function: Function, _ arguments: UnsafeRawBufferPointer) -> ForeignResult {
    switch function {
    case .compress: compressed { () throws(Compression.Failure) in try Compression.compress(arguments) }
    case .uncompress: compressed { () throws(Compression.Failure) in try Compression.uncompress(arguments) }
    case .sign: sign(arguments)
    case .verifySignature: verify(arguments)
    case .declareProperty: .status(declareProperty(arguments))
    case .setFilterState: .status(setFilterState(arguments))
    // There is one route a listener: nothing is cached.
    case .clearRouteCache: .status(.ok)
    case .createExpression: createExpression(arguments)
    case .evaluateExpression: evaluateExpression(arguments)
    case .deleteExpression: deleteExpression(arguments)
    }
  }

  private func compressed(_ body: () throws(Compression.Failure) -> [UInt8]) -> ForeignResult {
    do throws(Compression.Failure) {
      return .bytes(try body())
    } catch {
      if error == .tooLarge {
        warn("a foreign function was refused: it takes and gives at most \(Compression.maximumBytes) bytes")
      }
      return .status(.serializationFailure)
    }
  }

  // MARK: Signatures

  private static func text(_ value: ProtobufReader.Value?) -> UnsafeRawBufferPointer { value?.bytes ?? nothing }

  /// The one key of a message that may have it in DER or in PEM; nil where there is none, or both.
  private static func key(_ der: ProtobufReader.Value?, _ pem: ProtobufReader.Value?) -> UnsafeRawBufferPointer? {
    let (der, pem) = (text(der), text(pem))
    guard der.isEmpty != pem.isEmpty else { return nil }
    return der.isEmpty ? pem : der
  }

  /// Why the bytes of a signature are not looked at; nil where they are within their bounds.
  private func refusal(key: Int, signature: Int = 0, text: Int) -> String? {
    if max(key, signature) > Signature.maximumKeyBytes {
      return "keys and signatures have at most \(Signature.maximumKeyBytes) bytes"
    }
    return text > Signature.maximumTextBytes ? "what is signed has at most \(Signature.maximumTextBytes) bytes" : nil
  }

  /// `SignArguments`: hash function, private key in DER, text, private key in PEM. The result: whether it was signed, the
  /// signature, why not.
  private func sign(_ arguments: UnsafeRawBufferPointer) -> ForeignResult {
    guard let fields = ProtobufReader.fields(arguments), let key = Self.key(fields[2], fields[4]) else {
      return .status(.badArgument)
    }
    let (hash, text) = (Self.text(fields[1]), Self.text(fields[3]))
    var result = ProtobufWriter()
    if let refusal = refusal(key: key.count, text: text.count) {
      warn("the foreign function sign was refused: \(refusal)")
      result.bytes(3, refusal.utf8)
      return .bytes(result.bytes)
    }
    switch Signature.sign(hash: [UInt8](hash.prefix(64)), key: [UInt8](key), text: [UInt8](text)) {
    case .done(let signature):
      result.bool(1, true)
      result.bytes(2, signature)
    case .failed(let why): result.bytes(3, why.utf8)
    }
    return .bytes(result.bytes)
  }

  /// `VerifySignatureArguments`: hash function, public key in DER, signature, text, public key in PEM. The result: whether
  /// the signature is the text's, why not.
  private func verify(_ arguments: UnsafeRawBufferPointer) -> ForeignResult {
    guard let fields = ProtobufReader.fields(arguments), let key = Self.key(fields[2], fields[5]) else {
      return .status(.badArgument)
    }
    let (hash, signature, text) = (Self.text(fields[1]), Self.text(fields[3]), Self.text(fields[4]))
    var result = ProtobufWriter()
    if let refusal = refusal(key: key.count, signature: signature.count, text: text.count) {
      warn("the foreign function verify_signature was refused: \(refusal)")
      result.bytes(2, refusal.utf8)
      return .bytes(result.bytes)
    }
    switch Signature.verify(
      hash: [UInt8](hash.prefix(64)), key: [UInt8](key), signature: [UInt8](signature), text: [UInt8](text))
    {
    case .done: result.bool(1, true)
    case .failed(let why): result.bytes(2, why.utf8)
    }
    return .bytes(result.bytes)
  }

  // MARK: Properties

  /// `DeclarePropertyArguments`: name, whether it is read-only, type, schema, life span. Each name once.
  private func declareProperty(_ arguments: UnsafeRawBufferPointer) -> Status {
    guard let fields = ProtobufReader.fields(arguments) else { return .badArgument }
    let text = Self.text(fields[1])
    let name = text.count <= Limits.maximumSharedKey ? [UInt8](text) : []
    guard foreign.declared[name] == nil else { return .badArgument }
    guard foreign.declared.count < ForeignState.maximumDeclared, name.count == text.count else {
      warn(
        "declare_property was refused: a plugin has at most \(ForeignState.maximumDeclared) properties with names of "
          + "\(Limits.maximumSharedKey) bytes")
      return .internalFailure
    }
    foreign.declared[name] = ForeignState.Declaration(
      isString: fields[3]?.number == 1, isReadOnly: (fields[2]?.number ?? 0) != 0)
    return .ok
  }

  /// Whether the property of that path was declared read-only.
  func isReadOnly(_ path: UnsafeRawBufferPointer) -> Bool {
    !foreign.declared.isEmpty && foreign.declared[[UInt8](path)]?.isReadOnly == true
  }

  /// `SetEnvoyFilterStateArguments`: path and value. It is the property `filter_state` of that name, for the plugins
  /// behind this one and the access log too.
  private func setFilterState(_ arguments: UnsafeRawBufferPointer) -> Status {
    guard let fields = ProtobufReader.fields(arguments) else { return .badArgument }
    guard let active, !active.isEnded else { return .notFound }
    let (name, value) = (Self.text(fields[1]), Self.text(fields[2]))
    guard !isTooLongName(name, "the name of a filter state") else { return .internalFailure }
    let path = Array("filter_state\0".utf8) + [UInt8](name)
    return path.withUnsafeBytes { path in
      let builder = builder(for: active)
      guard builder.hasRoom(edit: path.count, value.count) else { return refuseOversize() }
      guard setOwnProperty(path, value) else { return .internalFailure }
      return builder.add(.setProperty, key: path, value: value) ? .ok : .internalFailure
    }
  }
}

/// What foreign functions keep of a plugin. One thread.
final class ForeignState {
  struct Declaration {
    var isString: Bool
    var isReadOnly: Bool
  }

  static let maximumDeclared = 1_024
  static let maximumExpressions = 1_024
  static let maximumExpressionBytes = 8 << 20

  /// Properties that `declare_property` named.
  var declared: [[UInt8]: Declaration] = [:]
  private(set) var expressions: [UInt32: CELExpression] = [:]
  private var expressionBytes = 0
  private var nextExpression: UInt32 = 0

  /// Keeps an expression under a number that no other has, from 0 on; nil where all of them would take too much memory.
  func add(_ expression: CELExpression) -> UInt32? {
    let bytes = expression.byteCount
    guard expressionBytes &+ bytes <= Self.maximumExpressionBytes else { return nil }
    expressionBytes &+= bytes
    while expressions[nextExpression] != nil { nextExpression &+= 1 }
    defer { nextExpression &+= 1 }
    expressions[nextExpression] = expression
    return nextExpression
  }

  func removeExpression(_ token: UInt32) {
    guard let expression = expressions.removeValue(forKey: token) else { return }
    expressionBytes &-= expression.byteCount
  }
}
