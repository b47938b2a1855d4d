import BulkheadCore
import BulkheadWire
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

@Suite struct ConnectorTests {
  @Test(arguments: ["", "example.com", "example.com:", ":x", "10.0.0.1:70000", "::1:80", "[::1]", "[]:80"])
  func anUpstreamWithAnEndpointThatIsNoneStopsTheStartAndIsNamed(_ text: String) {
    #expect(Endpoint(text) == nil)
    let upstream = FrontBootstrap.Upstream(name: "shop", isEcho: false, endpoints: ["127.0.0.1:80", text])
    #expect {
      try TestFront(upstreams: [upstream])
    } throws: { error in
      "\(error)" == "upstream shop: its endpoint '\(text)' is no host:port"
        && (error as? Front.StartError)?.exitCode == ExitCode.software
    }
  }

  @Test func anEndpointKnowsWhetherItsHostIsAnAddress() throws {
    let name = try #require(Endpoint("backend.local:8080"))
    #expect(name.text == "backend.local:8080" && name.host == "backend.local" && name.port == 8_080)
    #expect(name.address == nil)
    let address = try #require(Endpoint("[::1]:443"))
    #expect(address.host == "::1" && address.port == 443 && address.address?.port == 443)
  }

  @Test func aClosedGateKeepsOneReadForLater() {
    var gate = ReadGate()
    #expect(gate.admits() == true)
    #expect(gate.open() == false, "it was not closed")
    gate.close()
    #expect(gate.isClosed)
    #expect(gate.open() == false, "nobody has asked")
    gate.close()
    #expect(gate.admits() == false)
    #expect(gate.admits() == false)
    gate.close()
    #expect(gate.open() == true)
    #expect(!gate.isClosed)
    #expect(gate.open() == false, "it is answered once")
  }
}
