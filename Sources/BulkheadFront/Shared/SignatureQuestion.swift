import BulkheadCore
import BulkheadWire
import Synchronization

/// Whether anybody waits for a signature still. Any thread.
final class SignatureWait: Sendable {
  private let isOver = Atomic(false)

  /// Nobody waits any more: the work need not be done.
  func end() { isOver.store(true, ordering: .relaxed) }

  var isWanted: Bool { !isOver.load(ordering: .relaxed) }
}

/// A `sign` or `verifySignature` with its bytes copied, so that it can go to another thread.
struct SignatureQuestion: Sendable {
  private var isVerification: Bool
  private var hash: [UInt8]
  private var key: [UInt8]
  private var signature: [UInt8]
  private var text: [UInt8]

  /// Keys and signatures: bytes. An RSA key of 8,192 bits has less than 7 KiB in PEM.
  static let maximumKeyBytes = 16 << 10
  /// What is signed: bytes.
  static let maximumTextBytes = 1 << 20

  /// - Throws: BAD_ARGUMENT where the key of a verification is not laid out as it should be, or a bound.
  init(_ request: HostcallRequest) throws(SharedStore.Refusal) {
    isVerification = request.call == .verifySignature
    guard request.extra.count <= Self.maximumTextBytes else { throw .bound(.signedBytes(Self.maximumTextBytes)) }
    guard request.key.count <= Self.maximumKeyBytes, request.value.count <= Self.maximumKeyBytes else {
      throw .bound(.signedBytes(Self.maximumKeyBytes))
    }
    text = [UInt8](request.extra)
    if isVerification {
      do throws(WireError) {
        var reader = WireReader(request.key)
        hash = try reader.bytes("verify.hash")
        key = [UInt8](try reader.raw(reader.remaining, "verify.key"))
      } catch {
        throw .status(.badArgument)
      }
      signature = [UInt8](request.value)
    } else {
      hash = [UInt8](request.key)
      key = [UInt8](request.value)
      signature = []
    }
  }

  /// Takes its time.
  func answered() -> Signature.Outcome {
    isVerification
      ? Signature.verify(hash: hash, key: key, signature: signature, text: text)
      : Signature.sign(hash: hash, key: key, text: text)
  }
}
