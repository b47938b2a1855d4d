/// A stream's number in records: the connection's slot and a generation, so that what comes late for a slot's last
/// stream never reaches the next one.
public enum StreamID {
  static let slotBits: UInt32 = 18
  static let slotMask: UInt32 = (1 << slotBits) - 1
  /// Generations run from 1 to this, without it.
  static let generations: UInt32 = 1 << (32 - slotBits)
  /// Connections of one loop: one slot each, and the last number stays free.
  public static let maximumSlots = Int(slotMask)
  /// No stream's number.
  static let none = UInt32.max

  static func make(slot: Int, generation: UInt32) -> UInt32 {
    (UInt32(truncatingIfNeeded: slot) & slotMask) | (generation << slotBits)
  }
}
