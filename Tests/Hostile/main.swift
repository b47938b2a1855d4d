// A worker that has been taken over: it speaks the protocol, under the same sandbox as an honest one, and misbehaves as
// its plugin's configuration says: {"act": NAME}. A plugin that names no act gets an honest worker.
//
// It is started in place of `bulkhead-worker`: a directory of links, for `bulkheadd --libexec`, names it so.

import Glibc

if CommandLine.arguments.dropFirst().first == "list" {
  for name in Act.all.keys.sorted() { print(name) }
  exit(0)
}
Hostile.run()
