import BulkheadCore
import BulkheadSystem
import BulkheadWire

/// What the front of before has, shared data, queues and counts, on its way to this program's front: this process hands the
/// bytes on, sealed, and looks at none of them.
extension Supervisor {
  /// The longest that it may take; the traffic is taken without it then.
  private static let carryTime = Duration.seconds(5)

  /// Has the front of before leave what it has, and takes the traffic once this program's front has it.
  func carryState() {
    guard upgrade.carrying == nil else { return }
    guard let generation = upgrade.previous.last(where: \.serves) else { return takeTraffic() }
    do throws(SystemError) {
      let file = SharedDescriptor(try Memfd.scratch(name: "front-state"))
      let rest = SharedDescriptor(try Memfd.scratch(name: "front-rest"))
      var carrying = Upgrade.Carrying(file: file, generation: generation)
      carrying.timer = loop.after(Self.carryTime) { [unowned self] in
        upgrade.carrying?.timer = nil
        endCarrying("it did not come within \(Self.carryTime.text)")
      }
      upgrade.carrying = carrying
      generation.rest = rest
      tell(generation, .leaveState, [file, rest])
    } catch {
      note(.warn, "\(error): the new front begins without what the front of before has")
      takeTraffic()
    }
  }

  /// The front of before has written it.
  func stateLeft(_ detail: String, by generation: PreviousGeneration) {
    guard let carrying = upgrade.carrying, carrying.generation === generation else { return }
    if !detail.isEmpty {
      note(.warn, "the front of before leaves less than it has: \(LogText.escaped(detail, quoted: false))")
    }
    pass(carrying.file)
  }

  private func pass(_ file: SharedDescriptor) {
    do throws(SystemError) {
      // Whoever reads it is not to find it changed.
      try Memfd.seal(file.raw)
      tellFront(.takeState, [file])
    } catch {
      endCarrying("\(error)")
    }
  }

  /// This program's front has taken it, or the rest that came later.
  func stateTaken(_ detail: String) {
    if !detail.isEmpty { note(.warn, "not all that the front of before had is carried over: \(detail)") }
    endCarrying(nil)
  }

  /// - Parameter why: nothing came of it; nil where it did.
  private func endCarrying(_ why: String?) {
    guard var carrying = upgrade.carrying else { return }
    loop.cancel(&carrying.timer)
    upgrade.carrying = nil
    if let why { note(.warn, "the new front begins without what the front of before has: \(why)") }
    guard upgrade.isPending, phase == .starting || phase == .running else { return }
    // One that ended meanwhile is replaced first.
    if front?.isServing == true { takeTraffic() }
  }

  /// A front of before has ended: what it has counted since it left what it had comes to the rest.
  func takeRest(of generation: PreviousGeneration) {
    if var carrying = upgrade.carrying, carrying.generation === generation {
      loop.cancel(&carrying.timer)
      upgrade.carrying = nil
    }
    guard let rest = generation.rest else { return }
    generation.rest = nil
    guard front?.isServing == true, let status = try? Memfd.size(rest.raw), status > 0 else { return }
    pass(rest)
  }
}
