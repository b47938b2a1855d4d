import BulkheadControl
import BulkheadCore

/// What is counted of a plugin since the supervisor started, over all its revisions. It belongs to the loop's thread.
final class PluginRecord {
  struct Counts {
    /// Workers that were interrupted since a callback, or their start, took too long.
    var deadlineHits: UInt64 = 0
    /// Ends of its workers.
    var exits: [ExitReason: UInt64] = [:]
    /// Ends of VMs in workers that lived on.
    var vmDeaths: [ExitReason: UInt64] = [:]
    /// Workers that reached a limit of its policy's recycling.
    var recycled: UInt64 = 0
    /// Workers that were started for suspects.
    var laneStarts: UInt64 = 0
    /// Lines of its workers' log that were dropped, as far as they say themselves.
    var droppedLines: UInt64 = 0
  }

  var counts = Counts()
  /// How the last worker of a revision ended that streams took.
  var lastExit: PluginInfo.LastExit?
  /// Restarts of the revisions before the current one.
  var restartsBefore: UInt64 = 0

  /// Goes on where the program before was.
  func goOn(from past: History.Plugin) {
    restartsBefore &+= past.restarts
    lastExit = lastExit ?? past.lastExit
    History.add(past.exits, to: &counts.exits)
    History.add(past.vmDeaths, to: &counts.vmDeaths)
    counts.deadlineHits &+= past.deadlineHits
    counts.recycled &+= past.recycled
    counts.laneStarts &+= past.laneStarts
    counts.droppedLines &+= past.droppedLines
  }
}
