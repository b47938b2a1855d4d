import BulkheadWorker

Worker.run()
