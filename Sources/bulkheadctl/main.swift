import BulkheadCLI

await BulkheadControlCommand.runProcess()
