/// In which of its engine's lists a link stands; the engine alone changes it.
struct EngineLists {
  /// Its places among those that are polled and those that the deadline timer looks at; -1 outside.
  var active = -1
  var watched = -1
  /// Something was published and the worker not woken yet.
  var isToBeWoken = false
  /// Something that nobody waits for was published: a worker that sleeps is woken before long.
  var isToBeWokenInTime = false
}
