import ArgumentParser
import BulkheadControl
import BulkheadCore

/// `bulkheadctl events`: what happened, and what happens.
struct EventsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "events",
    abstract: "Lists what happened: starts, crashes with their backtraces, decisions of crash policies.",
    discussion: """
      bulkheadd keeps the last 1,024 events, at most 1 MiB, and all of them in the file that the key events of its \
      configuration names: --file reads that, whether or not bulkheadd runs.
      """)

  @ParentCommand var parent: BulkheadControlCommand
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var output: OutputOptions
  @Flag(help: "The same as --output json: one object a line.")
  var json = false
  @Flag(name: [.short, .long], help: "Stay, and print what happens from now on too.")
  var follow = false
  @Option(name: .shortAndLong, help: ArgumentHelp("Only the last so many of those that are kept.", valueName: "number"))
  var last: Int?
  @Option(
    help: ArgumentHelp(
      "Only events of the last 90s, 10m, 2h or 1d, or from a time in UTC on.", valueName: "span|time"))
  var since: String?
  @Option(
    help: ArgumentHelp("Only events of these kinds, with commas between them.", valueName: "kind"),
    completion: .list(EventInfo.Kind.all.map(\.rawValue)))
  var kind: String?
  @Option(
    help: ArgumentHelp("Read the file that events are kept in, and ask nobody.", valueName: "path"),
    completion: .file())
  var file: String?
  @Argument(help: ArgumentHelp("Only events of this plugin.", valueName: "name"), completion: .pluginNames)
  var plugin: String?

  /// The longest wait of one request, in seconds.
  private static let wait = 15
  /// How long a supervisor that was there may be away while it is followed.
  private static let patience = Duration.seconds(15)

  func validate() throws {
    if let last, last < 0 { throw ValidationError("--last takes a number that is not below 0") }
    if file != nil, follow { throw ValidationError("--file and --follow exclude each other: try tail -F") }
    do throws(EventFilter.Malformed) {
      _ = try filter(now: Terminal.now)
    } catch {
      throw ValidationError(error.message)
    }
  }

  private func filter(now: Timestamp) throws(EventFilter.Malformed) -> EventFilter {
    var filter = EventFilter(plugin: plugin)
    if let since { filter.since = try EventFilter.since(since, now: now) }
    if let kind { filter.kinds = try EventFilter.kinds(kind) }
    return filter
  }

  mutating func run() async throws {
    let terminal = Terminal()
    let path = connection.path(
      parent: parent.connection, environment: terminal.variable(ControlPaths.socketVariable))
    let client = ControlClient(socketPath: path)
    let view = View(now: Terminal.now, coloured: terminal.takesColour, format: json ? .json : output.output)
    let filter = (try? filter(now: view.now)) ?? EventFilter()
    do {
      if let file {
        let (events, skipped) = try EventLogReader.read(file)
        try print(events.filter(filter.takes), view, last: last)
        if skipped > 0 {
          Terminal.complain("bulkheadctl: \(file): \(View.count(UInt64(skipped), "line")) without an event")
        }
        return
      }
      var response = try await client.get(
        EventsResponse.self, ControlPaths.events(after: 0, wait: 0, plugin: plugin))
      try print(response.events.filter(filter.takes), view, last: last)
      while follow { response = try await next(after: response, client, view, filter) }
    } catch {
      let failure =
        error as? ControlFailure
        ?? ControlFailure(exitCode: BulkheadCore.ExitCode.software, message: "\(error)")
      Terminal.complain(failure.complaint(view.format))
      throw ArgumentParser.ExitCode(failure.exitCode)
    }
  }

  private func print(_ events: [EventInfo], _ view: View, last: Int? = nil) throws(ControlFailure) {
    let events = last.map { Array(events.suffix($0)) } ?? events
    if !events.isEmpty { Terminal.print(try view.show(events)) }
  }

  /// Waits for the next events and prints them.
  private func next(
    after before: EventsResponse, _ client: ControlClient, _ view: View, _ filter: EventFilter
  ) async throws -> EventsResponse {
    var response = try await patient { () async throws(ControlFailure) in
      try await client.get(
        EventsResponse.self, ControlPaths.events(after: before.last, wait: Self.wait, plugin: plugin))
    }
    if response.since != before.since {
      Terminal.complain("bulkheadctl: bulkheadd was started anew at \(response.since)")
      response = try await client.get(EventsResponse.self, ControlPaths.events(after: 0, wait: 0, plugin: plugin))
    } else if response.missed > 0 {
      Terminal.complain("bulkheadctl: \(response.missed) events are not kept any more")
    }
    try print(response.events.filter(filter.takes), view)
    return response
  }

  /// Tries again for a while where the supervisor cannot be reached: it may be on its way back.
  private func patient(_ ask: () async throws(ControlFailure) -> EventsResponse) async throws -> EventsResponse {
    let clock = ContinuousClock()
    let end = clock.now + Self.patience
    while true {
      do throws(ControlFailure) {
        return try await ask()
      } catch {
        guard error.exitCode == BulkheadCore.ExitCode.unavailable, clock.now < end else { throw error }
        try await Task.sleep(for: .milliseconds(500))
      }
    }
  }
}
