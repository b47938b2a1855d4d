import BulkheadConfig
import BulkheadSystem
import Foundation
import Glibc
import Synchronization
import Testing

@testable import BulkheadSupervisor

@Suite struct EventFileTests {
  private final class Place {
    let directory = NSTemporaryDirectory() + "bh-\(UUID().uuidString.prefix(8))"
    var path: String { directory + "/events.log" }

    init() throws { try FileSystem.makeDirectories(directory, mode: 0o700) }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    func text(_ name: String = "events.log") -> String {
      (try? String(contentsOfFile: "\(directory)/\(name)", encoding: .utf8)) ?? ""
    }
  }

  @Test func aFileThatIsFullIsPutAsideOnce() throws {
    let place = try Place()
    var output = EventFileOutput(path: place.path, size: 100)
    try output.open()
    let line = String(repeating: "x", count: 29)
    for _ in 0..<10 { try output.write(line) }
    // 30 bytes a line, three of them in 100.
    #expect(place.text() == line + "\n" && place.text("events.log.1") == String(repeating: line + "\n", count: 3))
    #expect(try FileManager.default.contentsOfDirectory(atPath: place.directory).count == 2)
    // A line that is larger than the file is written whole.
    try output.write(String(repeating: "y", count: 200))
    try output.write(line)
    #expect(place.text() == line + "\n" && place.text("events.log.1").hasPrefix("yyy"))
  }

  @Test func whatAKilledProcessLeftIsAddedToAndItsHalfLineIsEnded() throws {
    let place = try Place()
    try "one\nha".write(toFile: place.path, atomically: false, encoding: .utf8)
    var output = EventFileOutput(path: place.path, size: 1_000)
    try output.open()
    try output.write("two")
    try output.write("three")
    #expect(place.text() == "one\nha\ntwo\nthree\n")
  }

  @Test func aFileThatWasRenamedIsMadeAnew() throws {
    let place = try Place()
    let file = try EventFile(.init(path: place.path, location: .init(file: ""))) { _ in }
    file.append("one")
    file.flush()
    #expect(rename(place.path, place.path + ".old") == 0)
    file.append("two")
    file.flush()
    #expect(place.text("events.log.old") == "one\ntwo\n", "it goes on where it went")
    file.reopen()
    file.append("three")
    file.flush()
    #expect(place.text() == "three\n")
    var status = stat()
    #expect(stat(place.path, &status) == 0 && status.st_mode & 0o777 & 0o007 == 0, "it is not for everyone")
  }

  @Test func whatCannotBeWrittenIsCountedAndSaidOnce() throws {
    let said = Mutex<[String]>([])
    let file = try EventFile(.init(path: "/dev/full", location: .init(file: ""))) { text in
      said.withLock { $0.append(text) }
    }
    for _ in 0..<10 {
      file.append("lost")
      file.flush()
    }
    #expect(file.droppedLines == 10)
    #expect(said.withLock { $0 }.count == 1 && said.withLock { $0 }[0].contains("/dev/full"))
  }

  @Test func whatCannotBeOpenedIsRefusedAtTheStart() {
    #expect(throws: SystemError.self) {
      try EventFile(.init(path: "/nowhere/events.log", location: .init(file: ""))) { _ in }
    }
  }
}

@Suite struct UnnamedCrashesTests {
  @Test func aCrashIsWaitedForUntilItHasItsNameOrItsTimeIsOver() {
    var crashes = UnnamedCrashes()
    #expect(crashes.first(at: .zero) == nil)
    crashes.add(4, until: .milliseconds(250))
    crashes.add(6, until: .milliseconds(300))
    crashes.add(9, until: .milliseconds(310))
    #expect(crashes.first(at: .milliseconds(249))?.sequence == 4)
    #expect(crashes.first(at: .milliseconds(250))?.sequence == 6, "its time is over")
    crashes.remove(6)
    #expect(crashes.first(at: .milliseconds(250))?.sequence == 9)
    #expect(crashes.first(at: .milliseconds(310)) == nil)
  }
}
