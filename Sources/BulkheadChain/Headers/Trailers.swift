/// The fields behind a body: values are bytes, since nothing says that they are text.
public typealias Trailers = [(name: String, value: [UInt8])]
