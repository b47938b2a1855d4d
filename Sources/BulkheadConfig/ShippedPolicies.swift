/// The crash policies that are always there: the files of the repository's `policies/`, word for word.
public enum ShippedPolicies {
  /// The files' names and texts, in the order of their names.
  public static let files: [(name: String, text: String)] = [
    ("auth.yaml", auth),
    ("default.yaml", `default`),
    ("fail-fast.yaml", failFast),
    ("patient.yaml", patient),
    ("telemetry.yaml", telemetry),
    ("untrusted.yaml", untrusted),
  ]

  private static let auth = """
    # For plugins that decide who may pass. While one is not there nobody passes, and it is soon there again: a standby
    # takes over from a worker that fails, and deadlines are tight. What a client is told names no plugin.
    name: auth
    extends: default
    callbackDeadline: 50ms
    deadlines:
      headers: 25ms
    startDeadline: 2s
    grace: 100ms
    admissionWait: 500ms
    backoff:
      max: 2s
      jitter: 20
    budget:
      starts: 30
    failStrategy: FAIL_CLOSE
    exhaustion:
      strategy: FAIL_CLOSE
    failAnswer:
      body: |
        This service is temporarily unavailable.
    standby: 1

    """

  private static let `default` = """
    # What holds for a plugin that names no policy, with every key that there is: bulkhead-policy(5).
    name: default

    # How long a callback may run. A kind that is 'none' has callbackDeadline.
    callbackDeadline: 100ms
    deadlines:
      headers: none
      body: none
      log: none
      tick: none
      configure: none
    startDeadline: 5s
    grace: 250ms
    admissionWait:
      open: 20ms
      close: 1s

    # What follows a failure.
    restart: always
    backoff:
      initial: 50ms
      factor: 2
      max: 10s
      jitter: 0
    budget:
      restarts: none
      interval: 1m
      starts: 10
      share: 10%
      cpu: 20%
    stability: 30s
    exhaustion:
      retries: true
      strategy: plugin
    failStrategy: plugin
    failAnswer:
      status: 503
    # What follows where it has no room for a stream, whatever its failStrategy: no failure.
    overload: close

    # How many workers there are, and when they are replaced before they fail.
    workers: 1
    standby: 0
    recycling:
      age: none
      requests: none
      memory: none

    # What each worker may use.
    memoryLimit: 64MiB
    cpuPercent: none
    bufferLimit: 1MiB
    rings:
      callbacks: auto
      replies: auto
    callsInFlight: 256
    logLinesPerSecond: 100

    # What it may do, and what has to hold it.
    capabilities: all
    isolation:
      required: []
      seccomp: worker
    wasmFeatures: []

    # How often a worker gives its plugin a fresh VM in place of one that ended, before it is replaced itself.
    renewals: 1000

    # How long one worker more is kept after one that served died or was stuck, and how many such there may be.
    spare:
      keep: 5m
      most: 1
    # What its killers look like is remembered for that long, up to so many fingerprints, and what looks like them goes to a
    # worker of its own.
    suspects:
      lane: on
      memory: 10m
      most: 1024
    # How many VMs a worker spreads its plugin's streams over: a number, or 'stream' for one of its own for each stream.
    vms: 1
    # After that time a callback holds up its own stream and those with state in its VM alone: others go to another worker.
    slow: 5ms
    upstreams: all

    """

  private static let failFast = """
    # For a plugin that had better stay down than come back broken: three restarts, whatever it has served meanwhile, then it
    # takes an operator (bulkheadctl reset) or a new configuration.
    name: fail-fast
    extends: default
    backoff:
      max: 1s
    budget:
      restarts: 3
    exhaustion:
      retries: false

    """

  private static let patient = """
    # For a plugin that has to come back, however often it fails.
    name: patient
    extends: default
    backoff:
      max: 2s
      jitter: 20
    budget:
      starts: 1000
      cpu: 50%

    """

  private static let telemetry = """
    # For plugins that only look on: statistics, logs, traces. No request waits for one that is not there, or fails with it
    # (unless its manifest says so); it has time for its log and its ticks, and room for what it gathers.
    name: telemetry
    extends: default
    deadlines:
      log: 1s
      tick: 2s
    grace: 1s
    admissionWait: 0ms
    backoff:
      max: 30s
      jitter: 20
    budget:
      starts: 100
      interval: 10m
    failStrategy: FAIL_OPEN
    overload: open
    exhaustion:
      strategy: FAIL_OPEN
    memoryLimit: 256MiB
    logLinesPerSecond: 1000

    """

  private static let untrusted = """
    # For a plugin from somebody whom you do not trust: it runs only where every layer of isolation holds, in little memory
    # and on half a processor, is replaced every hour, and after five failures in ten minutes it takes an operator.
    name: untrusted
    extends: default
    callbackDeadline: 50ms
    deadlines:
      headers: 25ms
      configure: 1s
    startDeadline: 2s
    grace: 50ms
    admissionWait: 500ms
    backoff:
      initial: 250ms
      jitter: 20
    budget:
      restarts: 5
      interval: 10m
    exhaustion:
      retries: false
    failAnswer:
      body: |
        This service is temporarily unavailable.
    recycling:
      age: 1h
    memoryLimit: 32MiB
    cpuPercent: 50
    bufferLimit: 256KiB
    callsInFlight: 16
    logLinesPerSecond: 20
    isolation:
      required: all
    renewals: 0
    upstreams: []

    """

  /// The documents of all files.
  static func documents(_ problems: Problems) -> [(YAMLValue, Source)] {
    files.flatMap { file in
      let source = Source(file: "shipped:\(file.name)", problems: problems)
      return (YAMLParser(source: source).documents(file.text) ?? []).map { ($0, source) }
    }
  }
}
