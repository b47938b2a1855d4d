import Glibc

// bulkhead-ringbench [--rounds N]
//
// How long a message takes from one process to another and back: over the rings, and over the bare primitives that they
// sleep on, on the same CPUs in the same minute. Prints a Markdown table of medians over interleaved rounds.

do {
  if let peer = PeerArguments(CommandLine.arguments) {
    try peer.serve()
  } else {
    try Benchmark(arguments: CommandLine.arguments).run()
  }
} catch {
  let message = "bulkhead-ringbench: \(error)\n"
  _ = write(2, message, message.utf8.count)
  exit(1)
}
