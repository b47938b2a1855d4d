import BulkheadCompiler
import Glibc

if CommandLine.arguments.dropFirst().first == CompilerProcess.engineKeyArgument {
  _exit(CompilerProcess.printEngineKey())
}

// Not `exit`: it would run handlers of libraries that the seccomp filter does not know.
_exit(CompilerProcess.run())
