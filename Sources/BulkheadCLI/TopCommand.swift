import ArgumentParser
import BulkheadControl
import BulkheadCore

/// `bulkheadctl top`: the plugins with their rates and latencies, refreshed.
struct TopCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "top", abstract: "Shows the plugins with rates, latencies and memory, again and again.",
    discussion: """
      Rates and latencies are those since the look before. On a terminal q ends it, and r, n, l, m and s order by rate, name, \
      latency, memory and restarts; columns and rows are as many as fit. Where it does not print to a terminal, the whole \
      tables follow one another.
      """)

  @ParentCommand var parent: BulkheadControlCommand
  @OptionGroup var connection: ConnectionOptions
  @Option(
    name: [.customShort("d"), .long], help: ArgumentHelp("Seconds between two looks, from 0.2.", valueName: "seconds"))
  var interval = 2.0
  @Option(name: [.customShort("n"), .long], help: ArgumentHelp("End after so many tables.", valueName: "number"))
  var count: Int?
  @Option(help: ArgumentHelp("What to order by: rate, name, latency, memory or restarts.", valueName: "order"))
  var sort = TopOrder.rate

  func validate() throws {
    guard interval >= 0.2, interval <= 3_600 else { throw ValidationError("--interval takes 0.2 to 3600 seconds") }
    if let count, count < 1 { throw ValidationError("--count takes a number from 1 on") }
  }

  mutating func run() async throws {
    let terminal = Terminal()
    let path = connection.path(parent: parent.connection, environment: terminal.variable(ControlPaths.socketVariable))
    let client = ControlClient(socketPath: path)
    let keys = terminal.isScreen ? KeyReader() : nil
    defer { keys?.restore() }
    var screen = Screen(terminal: terminal, order: sort, hasKeys: keys != nil)
    do {
      var before = try await TopSample.take(client)
      var left = count ?? .max
      while left > 0 {
        guard try await screen.wait(.seconds(interval), keys) else { break }
        let after = try await TopSample.take(client)
        try screen.show(after, since: before)
        before = after
        left -= 1
      }
    } catch {
      let failure =
        error as? ControlFailure
        ?? ControlFailure(exitCode: BulkheadCore.ExitCode.software, message: "\(error)")
      Terminal.complain("bulkheadctl: \(failure.message)")
      throw ArgumentParser.ExitCode(failure.exitCode)
    }
  }

  /// What stands on the screen, and what it is ordered by.
  private struct Screen {
    let terminal: Terminal
    var order: TopOrder
    let hasKeys: Bool
    var last: (after: TopSample, before: TopSample)?

    private var footer: String {
      hasKeys ? "by \(order.rawValue); keys: r n l m s order, q quits" : "by \(order.rawValue)"
    }

    mutating func show(_ after: TopSample, since before: TopSample) throws(ControlFailure) {
      last = (after, before)
      try draw()
    }

    private func draw() throws(ControlFailure) {
      guard let last else { return }
      let view = View(now: Terminal.now, coloured: terminal.takesColour, format: .table)
      let layout =
        terminal.isScreen ? TopLayout(width: terminal.columns, height: terminal.rows) : TopLayout()
      let text = try view.show(last.after, since: last.before, by: order, in: layout, footer: footer)
      if terminal.isScreen {
        // No line feed behind the last line: the first one would scroll away.
        Terminal.write("\u{1B}[H\u{1B}[J" + text)
      } else {
        Terminal.print(text + "\n")
      }
    }

    /// Waits, and follows keys meanwhile; false where it is to end.
    mutating func wait(_ time: Duration, _ keys: KeyReader?) async throws -> Bool {
      guard let keys else {
        try await Task.sleep(for: time)
        return true
      }
      let end = ContinuousClock.now + time
      while ContinuousClock.now < end {
        guard let key = keys.key(within: end - ContinuousClock.now) else { continue }
        if key == "q" || key == "Q" {
          Terminal.print("")
          return false
        }
        guard let order = TopOrder.allCases.first(where: { $0.key == key }) else { continue }
        self.order = order
        try draw()
      }
      return true
    }
  }
}

extension TopOrder: ExpressibleByArgument {}
