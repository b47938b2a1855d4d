import BulkheadCompiler
import Glibc

// Not `exit`: it would run handlers of libraries that the seccomp filter does not know.
_exit(CompilerProcess.run())
