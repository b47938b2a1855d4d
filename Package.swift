// swift-tools-version: 6.2
// The targets below stand in the order of their layers: a target may import only what stands above it, and roles never
// import each other. `.ci/layering` checks both.

import PackageDescription

/// Where `make deps` puts the pinned Wasmtime library.
let dependencyLibraries = "\(Context.packageDirectory)/.build/deps/lib"

/// CI sets this, so that a newer compiler's new warnings never keep a newcomer from building.
let strict = Context.environment["BULKHEAD_STRICT"] != nil

/// A part of the package alone, see the end of this file.
let only = Context.environment["BULKHEAD_ONLY"] ?? ""

let swiftSettings: [SwiftSetting] =
  [
    .enableUpcomingFeature("ExistentialAny")
  ] + (strict ? [.treatAllWarnings(as: .error)] : [])
  // Where branches are counted, libFuzzer finds its way.
  + (only == "fuzz" ? [.unsafeFlags(["-sanitize=fuzzer"])] : [])

/// The C shims are few lines that run beside foreign bytes, so their stacks and buffers are checked. (Checks of indirect
/// branches would need every object of a program to have them, and Swift's have none.)
let cSettings: [CSetting] =
  [
    .unsafeFlags(["-fstack-protector-strong", "-fstack-clash-protection"]),
    .unsafeFlags(["-D_FORTIFY_SOURCE=3"], .when(configuration: .release)),
  ] + (strict ? [.treatAllWarnings(as: .error)] : [])

/// Binaries find `libwasmtime.so` in `lib/bulkhead` from `libexec/bulkhead` once installed, and in `.build/lib/bulkhead`,
/// which `make deps` links there, from the build tree.
let wasmtimeLinkage: [LinkerSetting] = [
  .unsafeFlags([
    "-L\(dependencyLibraries)",
    "-Xlinker", "-rpath", "-Xlinker", "$ORIGIN/../../lib/bulkhead",
    "-Xlinker", "-rpath", "-Xlinker", "$ORIGIN",
  ])
]

/// For what runs on each callback, in release builds alone: accesses are not checked for exclusivity a second time at run
/// time (debug builds, which all tests run, do check), and small functions of one module are compiled into another.
let hotPath: [SwiftSetting] = [
  .unsafeFlags(["-enforce-exclusivity=unchecked", "-cross-module-optimization"], .when(configuration: .release))
]

/// For what reads foreign bytes: all that the compiler cannot vouch for says `unsafe` (SE-0458), so that each such place was
/// meant, and is seen in a review.
let marksUnsafe: [SwiftSetting] = [.strictMemorySafety()]

func shim(_ name: String) -> Target { .target(name: name, cSettings: cSettings) }

func library(
  _ name: String, _ dependencies: [Target.Dependency] = [], hot: Bool = false, readsForeignBytes: Bool = false
) -> Target {
  .target(
    name: name, dependencies: dependencies,
    swiftSettings: swiftSettings + (hot ? hotPath : []) + (readsForeignBytes ? marksUnsafe : []))
}

/// Nothing looks symbols up in our programs: without their names, and what is kept for these, each is megabytes smaller.
/// All that the loader fills in is filled in at the start and read-only from then on, so that nobody who can write to a
/// program's memory finds a table of functions there to bend.
let closed: [LinkerSetting] = [
  .unsafeFlags(["-Xlinker", "-z", "-Xlinker", "relro", "-Xlinker", "-z", "-Xlinker", "now"]),
  .unsafeFlags(["-Xlinker", "--no-export-dynamic"], .when(configuration: .release)),
]

func executable(
  _ name: String, _ dependencies: [Target.Dependency], linker: [LinkerSetting] = [], path: String? = nil
) -> Target {
  .executableTarget(
    name: name, dependencies: dependencies, path: path, swiftSettings: swiftSettings, linkerSettings: linker + closed)
}

func tests(_ name: String, _ dependencies: [Target.Dependency], linker: [LinkerSetting] = []) -> Target {
  .testTarget(
    name: name, dependencies: dependencies, swiftSettings: swiftSettings, linkerSettings: linker)
}

/// The products that stand for the packages which others bring along: SwiftPM warns of a package that no target names. The
/// condition never holds where Bulkhead builds, so nothing of them is built or linked on this account.
let broughtAlong: [Target.Dependency] = [
  ("async-http-client", "AsyncHTTPClient"),
  ("swift-algorithms", "Algorithms"),
  ("swift-asn1", "SwiftASN1"),
  ("swift-async-algorithms", "AsyncAlgorithms"),
  ("swift-atomics", "Atomics"),
  ("swift-certificates", "X509"),
  ("swift-configuration", "Configuration"),
  ("swift-distributed-tracing", "Tracing"),
  ("swift-http-structured-headers", "RawStructuredFieldValues"),
  ("swift-http-types", "HTTPTypes"),
  ("swift-metrics", "Metrics"),
  ("swift-nio-extras", "NIOExtras"),
  ("swift-nio-transport-services", "NIOTransportServices"),
  ("swift-numerics", "Numerics"),
  ("swift-service-context", "ServiceContextModule"),
  ("swift-service-lifecycle", "ServiceLifecycle"),
  ("swift-system", "SystemPackage"),
].map { .product(name: $1, package: $0, condition: .when(platforms: [.windows])) }

let package = Package(
  name: "bulkhead",
  products: [
    .executable(name: "bulkheadd", targets: ["bulkheadd"]),
    .executable(name: "bulkhead-front", targets: ["bulkhead-front"]),
    .executable(name: "bulkhead-worker", targets: ["bulkhead-worker"]),
    .executable(name: "bulkhead-compiler", targets: ["bulkhead-compiler"]),
    .executable(name: "bulkheadctl", targets: ["bulkheadctl"]),
  ],
  // What was tested, and nothing else: `.ci/pins` checks that every package of the graph is here with its exact version.
  dependencies: [
    .package(url: "https://github.com/apple/swift-nio.git", exact: "2.101.2"),
    .package(url: "https://github.com/apple/swift-nio-http2.git", exact: "1.46.0"),
    .package(url: "https://github.com/apple/swift-nio-ssl.git", exact: "2.37.6"),
    .package(url: "https://github.com/apple/swift-collections.git", exact: "1.6.0"),
    .package(url: "https://github.com/apple/swift-log.git", exact: "1.16.2"),
    .package(url: "https://github.com/apple/swift-argument-parser.git", exact: "1.8.2"),
    .package(url: "https://github.com/apple/swift-crypto.git", exact: "4.5.2"),
    // Without its traits: they bring the whole of Foundation, 40 MB of it.
    .package(url: "https://github.com/hummingbird-project/hummingbird.git", exact: "2.28.1", traits: []),
    // What those bring along, and no target of ours imports. Without traits of their own choice: `swift-http-types` and
    // `swift-configuration` would bring Foundation too.
    .package(url: "https://github.com/swift-server/async-http-client.git", exact: "1.37.0", traits: []),
    .package(url: "https://github.com/apple/swift-algorithms.git", exact: "1.2.1"),
    .package(url: "https://github.com/apple/swift-asn1.git", exact: "1.7.4"),
    .package(url: "https://github.com/apple/swift-async-algorithms.git", exact: "1.1.4", traits: []),
    .package(url: "https://github.com/apple/swift-atomics.git", exact: "1.3.0"),
    .package(url: "https://github.com/apple/swift-certificates.git", exact: "1.21.1"),
    .package(url: "https://github.com/apple/swift-configuration.git", exact: "1.4.0", traits: []),
    .package(url: "https://github.com/apple/swift-distributed-tracing.git", exact: "1.7.3"),
    .package(url: "https://github.com/apple/swift-http-structured-headers.git", exact: "1.7.0"),
    .package(url: "https://github.com/apple/swift-http-types.git", exact: "1.8.0", traits: []),
    .package(url: "https://github.com/apple/swift-metrics.git", exact: "2.13.0"),
    .package(url: "https://github.com/apple/swift-nio-extras.git", exact: "1.35.2"),
    .package(url: "https://github.com/apple/swift-nio-transport-services.git", exact: "1.28.0"),
    .package(url: "https://github.com/apple/swift-numerics.git", exact: "1.1.1"),
    .package(url: "https://github.com/apple/swift-service-context.git", exact: "1.5.1"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle.git", exact: "2.13.0"),
    .package(url: "https://github.com/apple/swift-system.git", exact: "1.8.1"),
  ],
  targets: [
    // C shims
    shim("CBulkheadSys"),
    shim("CBulkheadRing"),
    .target(name: "CWasmtime", cSettings: cSettings, linkerSettings: [.linkedLibrary("wasmtime")]),
    .systemLibrary(name: "CSeccomp", pkgConfig: "libseccomp", providers: [.apt(["libseccomp-dev"])]),
    .systemLibrary(name: "CZlib", providers: [.apt(["zlib1g-dev"])]),
    // Into the supervisor itself, so that no machine needs the library to start.
    .target(
      name: "CBulkheadYAML", cSettings: cSettings,
      linkerSettings: [.unsafeFlags(["-Xlinker", "-l:libyaml.a"])]),
    // OpenSSL's headers (libssl-dev) alone: libcrypto is loaded while a worker runs, and linked to nothing.
    shim("CCrypto"),

    // pure: no I/O, no Foundation
    library("BulkheadCore", hot: true, readsForeignBytes: true),
    library("BulkheadPolicy", ["BulkheadCore"]),
    library("BulkheadWire", ["BulkheadCore"], hot: true, readsForeignBytes: true),
    library("ProxyWasmABI", hot: true, readsForeignBytes: true),

    // system
    library("BulkheadSystem", ["CBulkheadSys", "BulkheadCore"], hot: true),
    library("BulkheadRing", ["CBulkheadRing", "BulkheadCore"], hot: true),
    library("BulkheadSandbox", ["CBulkheadSys", "BulkheadSystem", "BulkheadCore"]),

    // VM
    library("BulkheadWasmtime", ["CWasmtime", "BulkheadCore"], hot: true),
    .target(
      name: "BulkheadProxyWasm", dependencies: ["CZlib", "CCrypto", "ProxyWasmABI", "BulkheadWire", "BulkheadCore"],
      swiftSettings: swiftSettings + hotPath,
      // Into the worker itself: one library less to relocate in each of many processes.
      linkerSettings: [.unsafeFlags(["-Xlinker", "-l:libz.a"])]),

    // chain: no NIO, no HTTP/1, no sockets
    library(
      "BulkheadChain",
      [
        "ProxyWasmABI", "BulkheadCore", "BulkheadPolicy", "BulkheadWire", "BulkheadSystem", "BulkheadRing",
        .product(name: "DequeModule", package: "swift-collections"),
      ], hot: true),

    // configuration and control
    library("BulkheadConfig", ["CBulkheadYAML", "BulkheadPolicy", "BulkheadCore", "ProxyWasmABI"]),
    library("BulkheadControl", ["BulkheadPolicy", "BulkheadCore"]),

    // roles
    library(
      "BulkheadSupervisor",
      [
        "CSeccomp", "BulkheadCore", "BulkheadPolicy", "BulkheadWire", "BulkheadSystem", "BulkheadSandbox",
        "BulkheadRing", "BulkheadConfig", "BulkheadControl",
        .product(name: "Hummingbird", package: "hummingbird"),
        .product(name: "HummingbirdCore", package: "hummingbird"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "Crypto", package: "swift-crypto"),
      ] + broughtAlong),
    library(
      "BulkheadFront",
      [
        "ProxyWasmABI", "BulkheadChain", "BulkheadCore", "BulkheadPolicy", "BulkheadWire", "BulkheadSystem",
        "BulkheadRing",
        "BulkheadSandbox",
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
        .product(name: "NIOTLS", package: "swift-nio"),
        .product(name: "NIOHTTP2", package: "swift-nio-http2"),
        .product(name: "NIOHPACK", package: "swift-nio-http2"),
        .product(name: "NIOSSL", package: "swift-nio-ssl"),
      ], hot: true),
    library(
      "BulkheadWorker",
      [
        "BulkheadCore", "BulkheadWire", "BulkheadSystem", "BulkheadRing", "BulkheadSandbox", "BulkheadWasmtime",
        "BulkheadProxyWasm", "ProxyWasmABI",
      ], hot: true),
    library(
      "BulkheadCompiler",
      ["BulkheadCore", "BulkheadWire", "BulkheadSystem", "BulkheadSandbox", "BulkheadWasmtime", "ProxyWasmABI"]),
    library(
      "BulkheadCLI",
      [
        "BulkheadCore", "BulkheadControl",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
        .product(name: "NIOHTTP1", package: "swift-nio"),
      ]),

    // executables
    executable(
      "bulkheadd",
      ["BulkheadCLI", "BulkheadSupervisor", .product(name: "ArgumentParser", package: "swift-argument-parser")]),
    executable("bulkhead-front", ["BulkheadFront"]),
    executable("bulkhead-worker", ["BulkheadWorker"], linker: wasmtimeLinkage),
    executable("bulkhead-compiler", ["BulkheadCompiler"], linker: wasmtimeLinkage),
    executable("bulkheadctl", ["BulkheadCLI"]),

    // tests
    executable("bulkhead-probe", ["BulkheadSandbox", "BulkheadSystem", "CBulkheadSys"], path: "Tests/Probe"),
    executable(
      "bulkhead-renewal-probe", ["BulkheadSandbox", "BulkheadSystem", "BulkheadWasmtime", "CBulkheadSys"],
      linker: wasmtimeLinkage, path: "Tests/RenewalProbe"),
    executable(
      "bulkhead-ringbench", ["BulkheadRing", "BulkheadSystem", "CBulkheadRing", "CBulkheadSys"], path: "Tests/RingBench"
    ),
    executable(
      "bulkhead-hostile",
      ["CBulkheadRing", "BulkheadCore", "BulkheadWire", "BulkheadSystem", "BulkheadRing", "BulkheadSandbox"],
      path: "Tests/Hostile"),
    // What the workers of tests read and say, and random bytes, for the targets that have them.
    .target(
      name: "BulkheadTestSupport", dependencies: ["BulkheadWire", "BulkheadCore"], path: "Tests/Support",
      swiftSettings: swiftSettings),
    tests("BulkheadCoreTests", ["BulkheadTestSupport", "BulkheadCore"]),
    tests("BulkheadPolicyTests", ["BulkheadPolicy"]),
    tests("BulkheadWireTests", ["BulkheadTestSupport", "BulkheadWire", "BulkheadCore"]),
    tests("BulkheadSystemTests", ["BulkheadSystem", "BulkheadCore", "CBulkheadSys"]),
    tests("BulkheadRingTests", ["BulkheadRing", "BulkheadSystem", "CBulkheadRing"]),
    tests(
      "BulkheadSandboxTests",
      [
        "CBulkheadSys", "BulkheadCore", "BulkheadWire", "BulkheadSystem", "BulkheadSandbox", "BulkheadSupervisor",
        "bulkhead-probe", "bulkhead-renewal-probe",
      ]),
    tests(
      "BulkheadProxyWasmTests",
      [
        "BulkheadWorker", "BulkheadProxyWasm", "ProxyWasmABI", "BulkheadWire", "BulkheadWasmtime", "BulkheadRing",
        "BulkheadCore",
      ],
      linker: wasmtimeLinkage),
    tests("BulkheadConfigTests", ["BulkheadConfig", "BulkheadPolicy", "BulkheadCore"]),
    tests(
      "BulkheadChainTests",
      [
        "BulkheadTestSupport", "BulkheadChain", "BulkheadWire", "BulkheadRing", "BulkheadSystem", "BulkheadCore",
      ]),
    tests(
      "BulkheadFrontTests",
      [
        "BulkheadTestSupport", "BulkheadFront", "BulkheadChain", "BulkheadWire", "BulkheadRing", "BulkheadSystem",
        "BulkheadCore",
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
        .product(name: "NIOHTTP2", package: "swift-nio-http2"),
        .product(name: "NIOHPACK", package: "swift-nio-http2"),
        .product(name: "NIOSSL", package: "swift-nio-ssl"),
      ]),
    tests("BulkheadCLITests", ["BulkheadCLI", "BulkheadControl"]),
    tests(
      "BulkheadSupervisorTests",
      [
        "CBulkheadRing", "BulkheadSupervisor", "BulkheadWire", "BulkheadConfig", "BulkheadPolicy", "BulkheadControl",
        "BulkheadRing", "BulkheadSystem", "BulkheadCore",
      ]),
    tests("IntegrationTests", ["BulkheadControl", "BulkheadCore", "bulkhead-hostile"]),
  ],
  swiftLanguageModes: [.v6]
)

/// `BULKHEAD_ONLY=rings` leaves the rings and records, with what both are made of, their tests, and no package from outside: what CI runs under the
/// sanitizers, without building everything else with them.
if only == "rings" {
  let kept: Set = [
    "CBulkheadSys", "CBulkheadRing", "BulkheadCore", "BulkheadWire", "BulkheadSystem", "BulkheadRing",
    "BulkheadTestSupport", "BulkheadCoreTests", "BulkheadWireTests", "BulkheadRingTests",
  ]
  package.targets.removeAll { !kept.contains($0.name) }
  package.products.removeAll()
  package.dependencies.removeAll()
}

/// `BULKHEAD_ONLY=fuzz` leaves the decoders of foreign bytes and `Tests/Fuzz`, which feeds them, and which links libFuzzer:
/// what `make fuzz` builds.
if only == "fuzz" {
  let kept: Set = [
    "CBulkheadSys", "CBulkheadRing", "CBulkheadYAML", "CZlib", "CCrypto", "BulkheadCore", "BulkheadPolicy",
    "BulkheadWire",
    "ProxyWasmABI", "BulkheadSystem", "BulkheadRing", "BulkheadSandbox", "BulkheadProxyWasm", "BulkheadConfig",
    "BulkheadChain", "BulkheadFront",
  ]
  package.targets.removeAll { !kept.contains($0.name) }
  package.targets.append(
    .executableTarget(
      name: "bulkhead-fuzz",
      dependencies: [
        "BulkheadChain", "BulkheadConfig", "BulkheadCore", "BulkheadFront", "BulkheadProxyWasm", "BulkheadWire",
        .product(name: "NIOCore", package: "swift-nio"),
      ],
      path: "Tests/Fuzz", exclude: ["seeds"], swiftSettings: swiftSettings + [.unsafeFlags(["-parse-as-library"])],
      linkerSettings: [.unsafeFlags(["-sanitize=fuzzer", "-use-ld=lld"])]))
  package.products = [.executable(name: "bulkhead-fuzz", targets: ["bulkhead-fuzz"])]
}
