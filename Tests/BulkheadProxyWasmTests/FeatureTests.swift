import BulkheadCore
import BulkheadWasmtime
import Testing

/// What modules may use, and what only where a policy says so.
@Suite struct FeatureTests {
  private static func compile(_ text: String, _ features: [WasmFeature] = []) throws {
    let wasm = try ModuleCompiler.binary(fromText: text)
    _ = try ModuleCompiler.compile(wasm, engine: try Engine(EngineSettings(features: features)))
  }

  static let off: [(WasmFeature, String)] = [
    (.tailCalls, "(module (func $f (return_call $f)))"),
    (.exceptions, "(module (tag $t) (func (throw $t)))"),
    (.functionReferences, "(module (type $f (func)) (func (param (ref $f)) (call_ref $f (local.get 0))))"),
    (.gc, "(module (type $s (struct (field i32))) (func (drop (struct.new $s (i32.const 1)))))"),
    (.gc, "(module (func (drop (ref.i31 (i32.const 1)))))"),
    (
      .relaxedSimd,
      "(module (func (param v128 v128) (result v128) (i8x16.relaxed_swizzle (local.get 0) (local.get 1))))"
    ),
    (
      .wideArithmetic,
      "(module (func (param i64 i64 i64 i64) (result i64 i64) "
        + "(i64.add128 (local.get 0) (local.get 1) (local.get 2) (local.get 3))))"
    ),
    (.customPageSizes, "(module (memory 1 (pagesize 1)))"),
  ]

  @Test(arguments: off) func aRareFeatureIsOffAndItsRefusalSaysWhatTurnsItOn(_ feature: WasmFeature, _ text: String) {
    #expect { try Self.compile(text) } throws: { error in
      "\(error)".hasSuffix(
        "; build the module without it, or turn it on with 'wasmFeatures: [\(feature.rawValue)]' in the plugin's policy"
      )
    }
    #expect(throws: Never.self) { try Self.compile(text, [feature]) }
    #expect(throws: Never.self) { try Self.compile(text, WasmFeature.allCases) }
  }

  /// No key turns these on.
  @Test(arguments: [
    "(module (type $f (func)) (type $c (cont $f)) (func (param (ref $c)) (resume $c (local.get 0))))",
    "(module (memory 1) (memory 1))", "(module (memory i64 1))",
  ])
  func whatTheABIHasNoUseForIsAlwaysOff(_ text: String) {
    #expect(throws: WasmtimeError.self) { try Self.compile(text, WasmFeature.allCases) }
  }

  /// Clang, Go, Rust and AssemblyScript emit these by default.
  @Test(arguments: [
    "(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 0))))",
    "(module (func (result i32 i32) (i32.const 0) (i32.const 1)))",
    "(module (table 1 externref) (func (result externref) (ref.null extern)))",
    "(module (func (param i32) (result i32) (i32.extend8_s (local.get 0))))",
    "(module (func (param f32) (result i32) (i32.trunc_sat_f32_s (local.get 0))))",
    "(module (global (export \"g\") (mut i32) (i32.const 0)))",
    "(module (func (result i32) (i32x4.extract_lane 0 (v128.const i32x4 1 2 3 4))))",
    "(module (global i32 (i32.add (i32.const 1) (i32.const 2))))",
  ])
  func whatUsualToolchainsEmitIsOn(_ text: String) {
    #expect(throws: Never.self) { try Self.compile(text) }
  }

  @Test func aModulesOwnNamesAreNoReasonForAdvice() {
    #expect { try Self.compile("(module (func $exception (param i32) (result i32)))") } throws: { error in
      !"\(error)".contains("wasmFeatures")
    }
  }

  @Test func modulesOfOtherFeaturesAreOtherFiles() {
    let keys = [[], [.gc], [.tailCalls], [.gc, .tailCalls]].map { (features: [WasmFeature]) in
      EngineSettings(features: features).cacheKey
    }
    #expect(Set(keys).count == keys.count)
    #expect(EngineSettings(features: [.tailCalls, .gc]).cacheKey == keys[3])
    #expect(keys.allSatisfy { $0.utf8.count < 100 })
    #expect(WasmFeature.list(mask: WasmFeature.mask(of: WasmFeature.allCases)) == WasmFeature.allCases)
    #expect(WasmFeature.list(mask: 0x8000) == nil)
  }
}
