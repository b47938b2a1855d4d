import BulkheadWire

// Telling a plugin of messages in its shared queues.
extension PluginWorkers {
  /// Whether it is in the chain that new streams take: of a plugin's revisions that one is told of messages.
  private var isOfNewStreams: Bool { engine.chain.place(of: self) != nil }

  /// Tells the oldest worker that takes new streams of a queue's messages, as far as it may be told more now.
  ///
  /// Without a worker, or where it has enough to do, the messages stay, and the next occasion tells of them.
  func notify(ofQueue token: UInt32, atMost most: Int = .max) {
    guard isOfNewStreams, settings.callbacks.contains(.queueReady), let link = workers.first else { return }
    let room = min(WorkerLink.maximumNotifications - link.root.notifications, most)
    guard room > 0 else {
      hasQueueBacklog = true
      return
    }
    let count = engine.shared.takeOwed(token, plugin: shared, worker: link.worker, most: room)
    if count == room { hasQueueBacklog = true }
    for _ in 0..<count {
      // One that cannot be sent is lost with its worker; the next one is told of everything again.
      guard link.deliver(.queueReady, { $0.u32(token) }) else { return }
      link.root.notifications += 1
    }
  }

  /// The same for all of the plugin's queues, in equal parts.
  public func notifyOfQueues() {
    hasQueueBacklog = false
    guard isOfNewStreams, settings.callbacks.contains(.queueReady), let link = workers.first else { return }
    let tokens = engine.shared.owing(plugin: shared, worker: link.worker)
    guard !tokens.isEmpty else { return }
    let share = max((WorkerLink.maximumNotifications - link.root.notifications) / tokens.count, 1)
    for token in tokens { notify(ofQueue: token, atMost: share) }
  }
}

extension WorkerLink {
  /// Notifications of queues that a worker may have under way on one loop: so that streams do not wait behind them.
  static let maximumNotifications = 32

  /// It has dealt with one.
  func queueNotificationAnswered() {
    root.notifications -= 1
    if plugin.hasQueueBacklog { plugin.notifyOfQueues() }
  }
}
