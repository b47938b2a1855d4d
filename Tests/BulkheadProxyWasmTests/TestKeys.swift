/// Keys made for these tests alone.
enum TestKeys {
  /// PKCS #8.
  static let rsa = """
    -----BEGIN PRIVATE KEY-----
    MIICdgIBADANBgkqhkiG9w0BAQEFAASCAmAwggJcAgEAAoGBALpfUeB8EJrliaQl
    1O6rLFC9i9Q+fRM6uZ/MOHgBtXLD6u+mmjvRnZ7ev3/mZwCOVP1OVs3AzcO4KevB
    lW3TWFMIaX4BNWpvOxj8k1Ce1HW6L+ykTpGC00GX7Pl4p10Oct8EfVWpFqJEN5lK
    GleG16r5MjgL8by+4FJ2t/+tl3g3AgMBAAECgYApUezTOm5sCSwFCqY07Bp9JCkW
    O2x7kO+KsDps0OQrt6gkzekwDf9GM9h9QNXhV60cI/w2zeJQ3EnfDSJWIR9ZmIZD
    gCFQgv6EbzlYz7NmTt4LFy0gJUKVHZEsrVpy+UXmjVHO+b0K2TQu/Z8hpFfxsVIh
    OKgyADxnwpB2882mQQJBAOA2G1sg8tuKy/GCqOLAN06V3hdimCztkABVzjC7XJLx
    PovQU+oYLDa+eOFR9cH6uXbLsriTq4WksfAPQo489ucCQQDUy9JzQNHZi+Ag/JG6
    YktrESj+B7fAekiL9QCHVFWM7vjBQjJqva80E0BxjgGmh+oxZIm3arS3umlTvLER
    CVoxAkAIh2ZhAA7c9Rmu9TZxcbho3+CT6Sc6xkqtCJaQWgA6grzLWsBmbkb4SiSV
    BaYgm+YEM9l3lf53Vf2C0UHJ4V3PAkEAtCuzDzSFuT1OUn+m33mUQ53u6E8ejNC8
    lgumG+8S1FYNtovW5juemWfne33x9c9EQffPBsZJJvqlbWnpPfR+MQJAIKaLGOiq
    CnIX1sywDIf1zIoM7Mf2yRKDJLmMR75C5mQ27WME8iDCZ7P75IV68LTXyiQiScAs
    EJt6p7yz2B2hnw==
    -----END PRIVATE KEY-----
    """
  /// PKCS #1.
  static let rsaOld = """
    -----BEGIN RSA PRIVATE KEY-----
    MIICXAIBAAKBgQC6X1HgfBCa5YmkJdTuqyxQvYvUPn0TOrmfzDh4AbVyw+rvppo7
    0Z2e3r9/5mcAjlT9TlbNwM3DuCnrwZVt01hTCGl+ATVqbzsY/JNQntR1ui/spE6R
    gtNBl+z5eKddDnLfBH1VqRaiRDeZShpXhteq+TI4C/G8vuBSdrf/rZd4NwIDAQAB
    AoGAKVHs0zpubAksBQqmNOwafSQpFjtse5DvirA6bNDkK7eoJM3pMA3/RjPYfUDV
    4VetHCP8Ns3iUNxJ3w0iViEfWZiGQ4AhUIL+hG85WM+zZk7eCxctICVClR2RLK1a
    cvlF5o1Rzvm9Ctk0Lv2fIaRX8bFSITioMgA8Z8KQdvPNpkECQQDgNhtbIPLbisvx
    gqjiwDdOld4XYpgs7ZAAVc4wu1yS8T6L0FPqGCw2vnjhUfXB+rl2y7K4k6uFpLHw
    D0KOPPbnAkEA1MvSc0DR2YvgIPyRumJLaxEo/ge3wHpIi/UAh1RVjO74wUIyar2v
    NBNAcY4BpofqMWSJt2q0t7ppU7yxEQlaMQJACIdmYQAO3PUZrvU2cXG4aN/gk+kn
    OsZKrQiWkFoAOoK8y1rAZm5G+EoklQWmIJvmBDPZd5X+d1X9gtFByeFdzwJBALQr
    sw80hbk9TlJ/pt95lEOd7uhPHozQvJYLphvvEtRWDbaL1uY7npln53t98fXPREH3
    zwbGSSb6pW1p6T30fjECQCCmixjoqgpyF9bMsAyH9cyKDOzH9skSgyS5jEe+QuZk
    Nu1jBPIgwmez++SFevC018okIknALBCbeqe8s9gdoZ8=
    -----END RSA PRIVATE KEY-----
    """
  static let rsaPublic = """
    -----BEGIN PUBLIC KEY-----
    MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC6X1HgfBCa5YmkJdTuqyxQvYvU
    Pn0TOrmfzDh4AbVyw+rvppo70Z2e3r9/5mcAjlT9TlbNwM3DuCnrwZVt01hTCGl+
    ATVqbzsY/JNQntR1ui/spE6RgtNBl+z5eKddDnLfBH1VqRaiRDeZShpXhteq+TI4
    C/G8vuBSdrf/rZd4NwIDAQAB
    -----END PUBLIC KEY-----
    """
  /// PKCS #8.
  static let ec = """
    -----BEGIN PRIVATE KEY-----
    MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQglYQjzzlUwHcX99hZ
    +8MkncBAt1OjOowOJZV+uoOdThOhRANCAAQ1Kz7Ttrr2RWHrXdOfYdCSggGoy4HK
    BQufhlDAtzPv9a069Co3dVzIcuTrOLj/shBx+ysHB+pZyygDaT3YOEQB
    -----END PRIVATE KEY-----
    """
  /// SEC 1.
  static let ecOld = """
    -----BEGIN EC PRIVATE KEY-----
    MHcCAQEEIJWEI885VMB3F/fYWfvDJJ3AQLdTozqMDiWVfrqDnU4ToAoGCCqGSM49
    AwEHoUQDQgAENSs+07a69kVh613Tn2HQkoIBqMuBygULn4ZQwLcz7/WtOvQqN3Vc
    yHLk6zi4/7IQcfsrBwfqWcsoA2k92DhEAQ==
    -----END EC PRIVATE KEY-----
    """
  static let ecPublic = """
    -----BEGIN PUBLIC KEY-----
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAENSs+07a69kVh613Tn2HQkoIBqMuB
    ygULn4ZQwLcz7/WtOvQqN3VcyHLk6zi4/7IQcfsrBwfqWcsoA2k92DhEAQ==
    -----END PUBLIC KEY-----
    """
  static let edwards = """
    -----BEGIN PRIVATE KEY-----
    MC4CAQAwBQYDK2VwBCIEIJdJulVKhdDF4AS7bi4GsOH0ADxXY502RczTSHuxIXcT
    -----END PRIVATE KEY-----
    """
  static let edwardsPublic = """
    -----BEGIN PUBLIC KEY-----
    MCowBQYDK2VwAyEAli4N78qPU/in9cSvY84YpUIefF/MPrOUTuzXotM7/f0=
    -----END PUBLIC KEY-----
    """
  static let encrypted = """
    -----BEGIN ENCRYPTED PRIVATE KEY-----
    MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAi6HFzTpWZq3gICCAAw
    DAYIKoZIhvcNAgkFADAdBglghkgBZQMEAQIEEO4ZmC2Dq2XB9pYJZqJJgDAEgZDB
    6UGMhHP/WWv4ccCrW8G1mSDo/6Ytqdg5CRsVhBcEqL5nZyr71omU1oDOtCbrb8WY
    WvKOaksu81xtliCisMm1388JregnQyJ+rJVgeG/NrbXWwPVVmxjLHqXBHx35w8ky
    9ZbRqClV5eoHzTOKp8OWRJa2lkPgc/w/cFercowKEqzaTwtMVET0amki6z53U4M=
    -----END ENCRYPTED PRIVATE KEY-----
    """
  static let dsa = """
    -----BEGIN PRIVATE KEY-----
    MIIBWwIBADCCATQGByqGSM44BAEwggEnAoGBAPsVRVNZw0Rl7KeKYIhlDb3Jho57
    hEmlFup8ZO4OlbX8h05wQJA5ialYGlLiruhEhWFSkNsR9K5nfyo3WjhpPRspIi46
    PKCkWyVAdtL5fc7/RKF8keFhYTZteiXrf98xp9H540wAaLnJJdN4HjaaZKSWLYm2
    MC8O3izkbBG3qUWBAh0Ar/9L4U7LjfPnBa7ywHLC1Rtk/9VExv4yN0kPRwKBgQDG
    m9myQe7HH4MBLvaDs9Ym5cYwY3wNcnELoyexUQtThGqoPkt0UpxhXBKbe6iDRddE
    AjDnX3zytFFi+w4Saph6ltsEwl34fR8o18XAqjZgPgDWQQaZxZoOrXIkQUmC1F0P
    0cSe4TEvqbmOhSyJ2jnT9RX5xTehS4abGASmkM61zwQeAhwq8pEc4FEBLa1UZRKC
    sXot9+9KeVsv5dSoik6K
    -----END PRIVATE KEY-----
    """
  /// Of "hello" with SHA-256 by the RSA key.
  static let signature =
    "b4b94e70debc2fc72f920be58ed1419f55a3bb70c330d4455e601f03fe00f8785b00b6c946981a75ac21a912605c3b670584"
    + "8b0de4363ee606a19d1d5ac27468c2ec0da06a42116a7ccaf3aa1adad23bc5d33b6b3fdc82925b9b63cdc74e6fcda47fb46a"
    + "c36ab388adb8b96664783308f79f5d867ad7fe31a4c0f04c0d96a9dd"
}
