/// What has happened, as handlers and timers leave it: for whom it is, and what it is.
enum SupervisorEvent {
  case chronicle(Chronicle.Event)
  case crashes(CrashBook.Event)
  case fleet(Fleet.Event)
  case front(FrontKeeper.Event)
  case inquiry(FrontInquiry.Event)
  case reload(Reloader.Event)
  case upgrade(Upgrader.Event)
  case service(ServiceKeeper.Event)
  /// What one of them has come to, and what others have to know.
  case news(SupervisorNews)
  /// The time of a shutdown is over.
  case shutdownIsLate
}

/// Takes events for the supervisor, which deals with each once whatever caused it is over: nothing is in the middle of
/// anything then. It belongs to the loop's thread.
final class EventQueue {
  let loop: EventLoop
  /// Who deals with them.
  var deliver: (SupervisorEvent) -> Void = { _ in }

  init(_ loop: EventLoop) { self.loop = loop }

  /// Has an event dealt with before this round is over, after what was posted before.
  func post(_ event: SupervisorEvent) { loop.post { [self] in deliver(event) } }

  /// The same, after that time.
  func after(_ time: Duration, _ event: SupervisorEvent) -> TimerQueue.Token { at(loop.now + time, event) }

  /// The same, at that moment of the loop's `now`.
  func at(_ time: Duration, _ event: SupervisorEvent) -> TimerQueue.Token {
    loop.at(time) { [weak self] in self?.deliver(event) }
  }
}
