import BulkheadChain
import NIOCore

/// A worker's doorbell and liveness pipe in an event loop's selector. That loop alone touches it.
final class WorkerPipes: LinkPipes {
  private var doorbell: (any Channel)?
  private var liveness: (any Channel)?
  private var hasDoorbell = true
  private var isOpen = true

  /// Takes both descriptors over.
  static func watch(_ link: WorkerLink, doorbell: Int32, liveness: Int32, on eventLoop: any EventLoop) {
    let pipes = WorkerPipes()
    let bound = NIOLoopBound((link: link, pipes: pipes), eventLoop: eventLoop)
    PipeWatch.open(doorbell, on: eventLoop) { event in
      switch event {
      case .opened(let channel): bound.value.pipes.opened(doorbell: channel)
      case .bytes: bound.value.link.rung()
      // Its end of the pipe is closed: that it is dead, the liveness pipe says.
      case .end: break
      }
    }
    PipeWatch.open(liveness, on: eventLoop) { event in
      switch event {
      case .opened(let channel): bound.value.pipes.opened(liveness: channel)
      case .bytes: break
      case .end: bound.value.link.died()
      }
    }
    link.attach(pipes)
  }

  private func opened(doorbell channel: any Channel) {
    if hasDoorbell { doorbell = channel } else { channel.close(promise: nil) }
  }

  private func opened(liveness channel: any Channel) {
    if isOpen { liveness = channel } else { channel.close(promise: nil) }
  }

  func closeDoorbell() {
    hasDoorbell = false
    doorbell?.close(promise: nil)
    doorbell = nil
  }

  func close() {
    closeDoorbell()
    isOpen = false
    liveness?.close(promise: nil)
    liveness = nil
  }
}
