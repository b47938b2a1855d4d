import BulkheadCore
import BulkheadWire
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

@Suite struct ConnectorTests {
  @Test func anEndpointKnowsWhetherItsHostIsAnAddress() {
    let name = Endpoint("backend.local:8080")
    #expect(name.text == "backend.local:8080" && name.host == "backend.local" && name.port == 8_080)
    #expect(name.address == nil)
    let address = Endpoint("[::1]:443")
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
