import BulkheadSystem
import Glibc
import Testing

@Suite struct MemoryTests {
  @Test func sharedMemoryCanBeWrittenButNeverResized() throws {
    let memory = try Memfd.shared(name: "channel", size: 8_192)
    let mine = try Mapping(memory.descriptor.raw, size: 8_192, writable: true)
    let theirs = try Mapping(memory.descriptor.raw, size: 8_192, writable: false)
    mine.base.storeBytes(of: 42, toByteOffset: 4_096, as: UInt32.self)
    #expect(theirs.base.load(fromByteOffset: 4_096, as: UInt32.self) == 42)
    #expect(ftruncate(memory.descriptor.raw, 4_096) == -1 && errno == EPERM)
    #expect(ftruncate(memory.descriptor.raw, 16_384) == -1 && errno == EPERM)
    try Memfd.verify(memory.descriptor.raw, size: 8_192)
  }

  @Test func aMessageCannotBeChanged() throws {
    let message = try Memfd.message(name: "bootstrap", Array("for you alone".utf8))
    #expect(write(message.descriptor.raw, "x", 1) == -1)
    #expect(errno == EPERM)
    #expect(throws: SystemError.self) { try Mapping(message.descriptor.raw, size: 4_096, writable: true).size }
    #expect(try RawDescriptor.readFile(message.descriptor.raw, atMost: 64) == Array("for you alone".utf8))
    // Read again from its beginning, wherever another reader of the same file left off.
    #expect(try RawDescriptor.readAll(message.descriptor.raw, atMost: 64) == Array("for you alone".utf8))
    #expect(try RawDescriptor.readAll(message.descriptor.raw, atMost: 4) == nil)
    #expect { try RawDescriptor.readFile(message.descriptor.raw, atMost: 4) } throws: {
      "\($0)".hasSuffix("file too large (EFBIG): at most 4 bytes are read")
    }
  }

  @Test func memoryThatAPeerCouldShrinkIsRefused() throws {
    let memory = try Memfd.scratch(name: "loose")
    #expect { try Memfd.verify(memory.raw, size: 0) } throws: {
      "\($0)".hasSuffix("operation not permitted (EPERM): it is not sealed against shrinking")
    }
    let small = try Memfd.shared(name: "small", size: 4_096)
    #expect { try Memfd.verify(small.descriptor.raw, size: 8_192) } throws: {
      "\($0)".hasSuffix("it has 4096 bytes, 8192 are needed")
    }
    let pipe = try Pipe()
    #expect(throws: SystemError.self) { try Memfd.verify(pipe.read.raw, size: 1) }
  }

  @Test(arguments: [0, -1]) func aMappingOfNothingIsRefused(_ size: Int) throws {
    let memory = try Memfd.shared(name: "channel", size: 4_096)
    #expect(throws: SystemError.self) { try Mapping(memory.descriptor.raw, size: size, writable: false).size }
  }

  @Test func aChildsMemoryIsCounted() throws {
    let child = try Shell.start("exec sleep 60")
    let bytes = try ProcessMemory.proportionalSetSize(of: child.pid)
    #expect(bytes > 0 && bytes < 64 << 20)
    try child.send(signal: SIGKILL)
    _ = try child.wait()
    #expect(throws: SystemError.self) { try ProcessMemory.proportionalSetSize(of: child.pid) }
  }
}
