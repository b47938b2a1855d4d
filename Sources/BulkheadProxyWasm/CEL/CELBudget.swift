/// What one evaluation may still do: a plugin may ask for one in every callback, and nothing interrupts the host while it
/// runs. What is spent is spent: an evaluation that went over a bound does nothing more. One thread.
final class CELBudget {
  /// What may be read of properties and made of strings, in bytes.
  private var bytes = 16 << 20
  /// A step is a state of a pattern looked at, or a byte or element compared.
  private var steps: Int
  private var nextLook: Int
  private let isInterrupted: () -> Bool

  static let maximumSteps = 50_000_000
  /// How many steps there are between two looks at whether the callback is to end.
  private static let stepsBetweenLooks = 100_000

  /// - Parameter isInterrupted: whether the callback that runs is to end.
  init(steps: Int = CELBudget.maximumSteps, isInterrupted: @escaping () -> Bool = { false }) {
    self.steps = steps
    nextLook = steps
    self.isInterrupted = isInterrupted
  }

  /// - Throws: where nothing more may be made.
  func check() throws(CELError) {
    guard bytes > 0, steps >= 0 else { throw CELError("an expression goes on after its bounds were reached") }
  }

  func spend(_ count: Int) throws(CELError) {
    guard count <= bytes else {
      bytes = 0
      throw CELError("an expression makes more than 16 MiB of values")
    }
    bytes &-= count
  }

  func work(_ count: Int) throws(CELError) {
    guard count <= steps else {
      steps = -1
      throw CELError("an expression takes more than 50,000,000 steps")
    }
    steps &-= count
    guard steps <= nextLook else { return }
    nextLook = steps &- Self.stepsBetweenLooks
    if isInterrupted() {
      steps = -1
      throw CELError("the callback was interrupted past its deadline")
    }
  }
}
