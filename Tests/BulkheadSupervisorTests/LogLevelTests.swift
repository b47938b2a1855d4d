import BulkheadCore
import BulkheadSystem
import Testing

@testable import BulkheadSupervisor

@Suite struct LogLevelTests {
  @Test func aPluginsOwnLevelComesBeforeTheUsualOne() {
    let writer = LogWriter(format: .text, minimumLevel: .info, descriptor: -1)
    #expect(writer.takes(.info, plugin: "geo") && !writer.takes(.debug, plugin: "geo"))
    writer.levels.change { $0.plugins["geo"] = .debug }
    #expect(writer.takes(.debug, plugin: "geo"))
    #expect(!writer.takes(.debug, plugin: "other") && !writer.takes(.debug, plugin: nil))
    writer.levels.change { $0.usual = .error }
    #expect(writer.takes(.debug, plugin: "geo") && !writer.takes(.warn, plugin: nil))
    writer.levels.change { $0.plugins["geo"] = nil }
    #expect(!writer.takes(.warn, plugin: "geo"))
    #expect(writer.levels.initial == .info)
  }

  @Test(arguments: [
    ("level=debug", LogLevelChange(level: .debug)),
    ("level=default", LogLevelChange()),
    ("level=warn&plugin=a%2Fb", LogLevelChange(plugin: "a/b", level: .warn)),
    ("plugin=geo&level=default", LogLevelChange(plugin: "geo")),
  ])
  func aChangeIsRead(query: String, change: LogLevelChange) {
    #expect(ControlRoute.parse(method: "PUT", target: "/v1/log-level?\(query)") == .success(.setLogLevel(change)))
    #expect(ControlRoute.parse(method: "GET", target: "/v1/log-level") == .success(.logLevel))
    #expect(
      ControlRoute.parse(method: "POST", target: "/v1/log-level?\(query)")
        == .failure(.methodNotAllowed(allow: "GET, PUT")))
  }

  @Test(arguments: ["", "level=", "level=loud", "plugin=a", "level=info&x=1", "level=info&plugin=", "level=%"])
  func aChangeThatIsNoneIsRefused(query: String) {
    guard case .failure(.badQuery(let why)) = ControlRoute.parse(method: "PUT", target: "/v1/log-level?\(query)") else {
      Issue.record("\(query) is taken")
      return
    }
    #expect(why.hasPrefix("/v1/log-level"))
  }
}
