/// The fields behind a body: values are bytes, since nothing says that they are text.
package typealias Trailers = [(name: String, value: [UInt8])]
