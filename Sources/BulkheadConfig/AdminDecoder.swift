/// Reads `admin`.
struct AdminDecoder {
  static let keys = ["address"]

  let source: Source

  /// - Parameter listeners: what takes traffic: nothing else can listen where one of them does.
  func decode(_ field: Field, listeners: [Configuration.Listener]) -> Configuration.Admin? {
    guard let section = field.section(Self.keys) else { return nil }
    guard let place = section.required("address", "host:port to listen on"),
      let address = ConfigurationDecoder(source: source).decodeAddress(place, ports: 0...65_535)
    else { return nil }
    if address.port != 0, let other = listeners.first(where: { $0.address == address }) {
      place.report("\(address) is already what listener '\(other.name)' listens on")
      return nil
    }
    if !address.isLoopback {
      place.warn(
        "\(address) may be reached from other machines, and whoever reaches it reads metrics and status: unless something "
          + "else keeps strangers away, listen on 127.0.0.1:\(address.port)")
    }
    return Configuration.Admin(address: address, location: place.location)
  }
}
