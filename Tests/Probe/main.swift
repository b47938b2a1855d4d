// Applies a worker's sandbox to itself and then does one thing, for the tests of BulkheadSandboxTests to look at.

import Glibc

guard CommandLine.arguments.count >= 2 else {
  Probe.say("usage: bulkhead-probe list | layers [FAILING OPERATION] | spawns | act NAME | front layers|ACT | nested")
  _exit(64)
}
switch CommandLine.arguments[1] {
case "list":
  for name in Act.all.keys.sorted() { Probe.say(name) }
  _exit(0)
case "layers": LayerProbe.run(failing: CommandLine.arguments.dropFirst(2).first)
case "spawns": SpawnProbe.run()
case "front" where CommandLine.arguments.count >= 3: FrontProbe.run(CommandLine.arguments[2])
case "nested": NestedProbe.run()
case "act" where CommandLine.arguments.count >= 3: ActProbe.run(CommandLine.arguments[2])
default:
  Probe.say("usage: bulkhead-probe list | layers [FAILING OPERATION] | spawns | act NAME | front layers|ACT | nested")
  _exit(64)
}
