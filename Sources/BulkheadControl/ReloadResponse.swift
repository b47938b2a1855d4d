/// The answer to `POST /v1/reload`, once the new configuration holds, or after a while. Names are in the order of the chain.
public struct ReloadResponse: Hashable, Sendable, Codable {
  /// Which reload it is; counted from 1.
  public var number: UInt32 = 0
  /// It takes longer than a request may: `GET /v1/reload/NUMBER` waits on, and answers as this one would have.
  public var isUnderWay = false
  /// Counts the chains that the supervisor has had: it stays where nothing changed.
  public var generation: UInt32 = 0
  /// Plugins that were not there before.
  public var added: [String] = []
  /// Another manifest, module or policy: they have new workers.
  public var changed: [String] = []
  /// Plugins that are not there any more.
  public var removed: [String] = []
  /// Their workers were not touched.
  public var unchanged: [String] = []
  /// Whether unchanged plugins stand in another order.
  public var isReordered = false
  /// How long it took.
  public var milliseconds: Double = 0
  /// That it was a check: nothing was changed. Not there where it was none.
  public var isCheck: Bool?
  /// What changed and was not taken over, with what to do; for people.
  public var warnings: [String] = []

  /// A reload that has done nothing yet.
  public init() {}
}
