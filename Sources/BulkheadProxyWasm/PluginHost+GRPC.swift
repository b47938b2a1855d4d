import BulkheadCore
import BulkheadWire
import ProxyWasmABI

/// The hostcalls of section "gRPC calls".
extension PluginHost {
  /// `proxy_grpc_call`.
  func grpcCall(_ memory: GuestMemory, _ a: HostcallArguments) -> Status {
    guard let message = memory.bytes(a[8], a[9]) else { return .invalidMemoryAccess }
    return startGRPC(memory, a, isUnary: true, message: message, timeout: Self.timeout(a[10]), tokenAt: a[11])
  }

  /// `proxy_grpc_stream`.
  func grpcStream(_ memory: GuestMemory, _ a: HostcallArguments) -> Status {
    startGRPC(memory, a, isUnary: false, message: Self.nothing, timeout: 0, tokenAt: a[8])
  }

  private func startGRPC(
    _ memory: GuestMemory, _ a: HostcallArguments, isUnary: Bool, message: UnsafeRawBufferPointer, timeout: UInt32,
    tokenAt: UInt32
  ) -> Status {
    guard let target = memory.bytes(a[0], a[1]), let service = memory.bytes(a[2], a[3]),
      let method = memory.bytes(a[4], a[5]), let metadataBytes = memory.bytes(a[6], a[7]), memory.contains(tokenAt, 4)
    else { return .invalidMemoryAccess }
    // As Envoy answers for a cluster that is not there, and so where the policy does not allow it: SDKs take
    // PARSE_FAILURE of a gRPC call for an error, and the Rust SDK ends the plugin over BAD_ARGUMENT.
    guard var upstream = upstream(ofService: target) else { return .parseFailure }
    // What the other side would take for another path, or for no header at all, is never sent.
    guard Self.isPathPart(service), Self.isPathPart(method), let pairs = Self.pairs(metadataBytes),
      let metadata = Self.fields(pairs, in: .trailers, skippingPseudo: true)
    else {
      warn("a gRPC call was refused: its service, its method or its metadata cannot be sent")
      return .internalFailure
    }
    let block = metadata.isEmpty ? [] : Self.serialized(metadata)
    let token = callOut(isUnary ? .grpcCall : .grpcStream, .grpcStart, value: message) { writer, token, owner in
      block.withUnsafeBytes { block in
        upstream.withUTF8 { upstream in
          writer.grpcStartKey(
            token: token, owner: owner, timeoutMilliseconds: timeout, isUnary: isUnary,
            upstream: UnsafeRawBufferPointer(upstream), service: service, method: method, serializedMetadata: block)
        }
      }
    }
    guard let token else { return .internalFailure }
    return store(token, at: tokenAt, memory)
  }

  /// The upstream that a gRPC call names: as plain text, or as a serialized `envoy.config.core.v3.GrpcService` with an
  /// `envoy_grpc.cluster_name`, which is what SDKs send to Envoy.
  ///
  /// - Returns: nil where there is no such upstream.
  private func upstream(ofService target: UnsafeRawBufferPointer) -> String? {
    guard target.count <= Self.maximumTarget else {
      warn(
        "a gRPC call was refused: what names its upstream has \(target.count) bytes; it may have at most "
          + "\(Self.maximumTarget)")
      return nil
    }
    if let plain = upstream(target) { return plain }
    let name = ProtobufReader.field(1, of: target).flatMap { ProtobufReader.field(1, of: $0) }
    if let name, let upstream = upstream(name) { return upstream }
    refuseUpstream(name ?? target)
    return nil
  }

  /// The most that may be handed over to name an upstream, in bytes: a `GrpcService` can be long.
  private static let maximumTarget = 64 << 10

  /// Whether it can stand between the slashes of a path.
  private static func isPathPart(_ bytes: UnsafeRawBufferPointer) -> Bool {
    !bytes.isEmpty && bytes.count <= Limits.maximumSharedKey
      && bytes.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "?") && $0 != UInt8(ascii: "#") }
  }

  // MARK: Steps

  func grpcSend(_ memory: GuestMemory, _ token: UInt32, _ messageAt: UInt32, _ size: UInt32, ends: Bool) -> Status {
    guard let message = memory.bytes(messageAt, size) else { return .invalidMemoryAccess }
    guard CalloutTable.kind(of: token) == .grpcStream else { return .badArgument }
    guard var call = callouts[token] else { return .notFound }
    // Nothing comes behind what was said to be the last.
    guard !call.isClosed else { return .badArgument }
    if ends { call.isClosed = true }
    if !call.isOver {
      guard step(.grpcSend, token, call, isLast: ends, message: message) else { return refuseOversize() }
    }
    callouts[token] = call
    return .ok
  }

  /// Ends a stream from the plugin's side: its answers still come. A unary call is given up.
  func grpcClose(_ token: UInt32) -> Status {
    switch CalloutTable.kind(of: token) {
    case .grpcCall: return cancelGRPC(token)
    case .grpcStream: break
    case .http, nil: return .badArgument
    }
    guard var call = callouts[token] else { return .notFound }
    guard !call.isClosed, !call.isOver else { return .ok }
    guard step(.grpcClose, token, call) else { return refuseOversize() }
    call.isClosed = true
    callouts[token] = call
    return .ok
  }

  func grpcCancel(_ token: UInt32) -> Status {
    switch CalloutTable.kind(of: token) {
    case .grpcCall, .grpcStream: cancelGRPC(token)
    case .http, nil: .badArgument
    }
  }

  /// Gives a call up: nothing more is told of it.
  private func cancelGRPC(_ token: UInt32) -> Status {
    guard let call = callouts[token] else { return .notFound }
    if !call.isOver {
      guard step(.grpcCancel, token, call) else { return refuseOversize() }
    }
    callouts.remove(token)
    return .ok
  }
}
