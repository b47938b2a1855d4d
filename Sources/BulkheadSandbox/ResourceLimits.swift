extension ResourceLimit {
  // The numbers of asm-generic/resource.h, which every architecture that Swift runs on shares.
  static func cpuSeconds(_ value: UInt64) -> ResourceLimit { .init(name: "CPU", resource: 0, value: value) }
  /// The largest file that it may write; pipes, sockets and shared mappings are not concerned.
  static func fileSize(_ value: UInt64) -> ResourceLimit { .init(name: "FSIZE", resource: 1, value: value) }
  /// Private writable memory, which is what a guest's memory costs once it is made accessible. Never RLIMIT_AS: Wasmtime
  /// reserves 4 GiB of inaccessible addresses for each linear memory.
  static func data(_ value: UInt64) -> ResourceLimit { .init(name: "DATA", resource: 2, value: value) }
  static let noCore = ResourceLimit(name: "CORE", resource: 4, value: 0)
  /// Threads and processes of this user in this user namespace. Threads that run already stay.
  static func processes(_ value: UInt64) -> ResourceLimit { .init(name: "NPROC", resource: 6, value: value) }
  /// One more than the highest descriptor that can be made; higher ones that are open stay open.
  static func descriptors(_ value: UInt64) -> ResourceLimit { .init(name: "NOFILE", resource: 7, value: value) }
  static let noLockedMemory = ResourceLimit(name: "MEMLOCK", resource: 8, value: 0)
  static let noMessageQueues = ResourceLimit(name: "MSGQUEUE", resource: 12, value: 0)
}
