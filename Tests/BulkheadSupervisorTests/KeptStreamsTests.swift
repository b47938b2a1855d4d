import BulkheadCore
import BulkheadPolicy
import BulkheadSystem
import BulkheadWire
import Testing

@testable import BulkheadSupervisor

/// Whether a plugin may ask for something of a stream that it has let pass.
@Suite struct KeptStreamsTests {
  static let naming = "env.proxy_set_effective_context"
  static let cases: [(exports: [String], imports: [String], capabilities: [String]?, keeps: Bool)] = [
    ([], [], nil, false),
    (["proxy_on_request_headers", "proxy_on_context_create", "proxy_on_tick", "proxy_on_configure"], [], nil, false),
    (["proxy_on_request_headers", "proxy_on_log"], [], nil, true),
    (["proxy_on_request_headers", "proxy_on_response_headers"], [], nil, true),
    (["proxy_on_request_headers", "proxy_on_request_body"], [], nil, true),
    (["proxy_on_request_headers", "proxy_on_http_call_response"], ["env.proxy_http_call"], nil, true),
    (["proxy_on_request_headers"], [naming], nil, true),
    (["proxy_on_request_headers"], ["env.proxy_log"], nil, false),
    (["proxy_on_request_headers", "proxy_on_log"], [naming], ["proxy_on_request_headers"], false),
    (["proxy_on_request_headers"], [naming], ["proxy_set_effective_context"], true),
  ]

  @Test(arguments: cases.indices) func whatItExportsImportsAndMayUseDecides(_ index: Int) throws {
    let one = Self.cases[index]
    let artifact = CompiledArtifact(
      descriptor: SharedDescriptor(try EventDescriptor().takeDescriptor()),
      metadata: .init(abi: "proxy_abi_version_0_2_1", exports: one.exports, imports: one.imports))
    var policy = CrashPolicy()
    policy.capabilities = one.capabilities
    #expect(artifact.keepsStreams(under: policy) == one.keeps)
  }
}
