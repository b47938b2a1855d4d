import BulkheadCore

/// What a command line asks for, before it is parsed: whether there is such a command at all.
enum CommandNames {
  /// Why there is none of the name that a command line begins with; nil where there is one, or none is named.
  ///
  /// - Parameters:
  ///   - arguments: without the program's own name.
  ///   - commands: all that there are, with their other names.
  static func problem(_ arguments: [String], commands: [String]) -> String? {
    guard let name = name(in: arguments), !(commands + ["help"]).contains(name) else { return nil }
    return "there is no command '\(Table.printable(name))'\(NearestName.question(name, among: commands))"
      + "; commands: \(commands.joined(separator: ", "))"
  }

  /// The first word that is neither an option nor an option's value.
  private static func name(in arguments: [String]) -> String? {
    var isValue = false
    for argument in arguments {
      if isValue {
        isValue = false
      } else if argument == "--socket" {
        isValue = true
      } else if !argument.hasPrefix("-") {
        return argument
      } else if !argument.hasPrefix("--socket=") {
        // Another option, with or without a value: the parser knows.
        return nil
      }
    }
    return nil
  }
}
