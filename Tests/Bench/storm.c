// The load of the table of storms: innocent clients and an attacker in one process and one thread, on connections of their own.
//
//     storm PORT [NAME=NUMBER]... [fault=TEXT] [killer=same|new|alike]
//
// Innocents: `closed` connections that ask as fast as they are answered, and `probes` requests a second that are due at fixed
// times and whose latency counts from then on, so that a server that stands still is not asked less often while it does.
// The attacker sends `rate` requests a second that name a fault. It never slows down for a slow server: what finds
// `outstanding` others without an answer is not sent, and counted. Figures are of `seconds` that begin with the attack, or
// once `after` killers were sent; answers past the plugin are counted from the beginning of the attack, failures always.
//
// The answer is one line of JSON. Times are in microseconds.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST_CONNECTIONS = 2048, ANSWER = 8192, REQUEST = 512, EVENTS = 64, PROBE_CONNECTIONS = 64, WARM_MS = 500 };
#define SECOND 1000000000ull
// An innocent that waits longer has failed, as its client would say.
#define PATIENCE (5 * SECOND)
// What was asked in time may be answered so much later.
#define DRAIN SECOND

// What stands for a status where there is none: nothing came in time. A connection that broke has 0.
enum { TOO_LATE = -1 };
enum role { CLOSED, PROBE, KILLER, ROLES };
enum state { UNUSED, CONNECTING, IDLE, WAITING };

struct connection {
  int fd;
  enum role role;
  enum state state;
  // From where latency counts.
  uint64_t since;
  char request[REQUEST], answer[ANSWER + 1];
  uint32_t size, sent, got;
};

struct samples {
  uint32_t *values;
  size_t count, room;
};

struct figures {
  uint64_t filtered, unfiltered, failed, broken, late, sent, unsent;
  struct samples latencies;
};

static struct connection connections[MOST_CONNECTIONS];
static uint32_t idle[ROLES][MOST_CONNECTIONS], idle_count[ROLES], used;
static struct figures figures[ROLES];
static uint64_t *due_probes;
static size_t probes_due, probes_taken, probes_room;
static int poller;
static struct sockaddr_in server;

static struct {
  double closed, probes, rate, seconds, after, outstanding, sources, fresh;
  const char *fault, *killer;
} options = {.closed = 4, .probes = 500, .rate = 0, .seconds = 4, .outstanding = 256, .fault = "trap", .killer = "same"};

static uint64_t warm_until, attack_begin, window_begin, window_end;
static uint32_t killers_outstanding, next_source;
static uint64_t random_state = 88172645463325252ull;

static void die(const char *what) {
  perror(what);
  exit(70);
}

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

static uint64_t random_number(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

static void note(struct samples *samples, uint64_t nanoseconds) {
  if (samples->count == samples->room) {
    samples->room = samples->room == 0 ? 1 << 16 : samples->room * 2;
    samples->values = realloc(samples->values, samples->room * sizeof *samples->values);
    if (samples->values == NULL) die("realloc");
  }
  uint64_t microseconds = nanoseconds / 1000;
  samples->values[samples->count++] = microseconds > UINT32_MAX ? UINT32_MAX : (uint32_t)microseconds;
}

// A request that was under way in the window, for whatever part of its time, is one of those that figures are made of: else
// a server that stood still since before it would look well.
static bool is_in_window(uint64_t since, uint64_t until) {
  return window_begin != 0 && until >= window_begin && (window_end == 0 || since < window_end);
}

static bool is_in_attack(uint64_t until) { return attack_begin != 0 && until >= attack_begin; }

// Connections.

static void watch(struct connection *connection, uint32_t events, int operation) {
  struct epoll_event event = {.events = events, .data.u32 = (uint32_t)(connection - connections)};
  if (epoll_ctl(poller, operation, connection->fd, &event) != 0) die("epoll_ctl");
}

static void open_socket(struct connection *connection) {
  int on = 1;
  connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (connection->fd < 0) die("socket");
  setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (connection->role == KILLER && options.sources > 0) {
    struct sockaddr_in own = {.sin_family = AF_INET};
    own.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + next_source++ % (uint32_t)options.sources);
    setsockopt(connection->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(connection->fd, (struct sockaddr *)&own, sizeof own) != 0) die("bind");
  }
  if (connect(connection->fd, (struct sockaddr *)&server, sizeof server) != 0 && errno != EINPROGRESS) die("connect");
  connection->state = CONNECTING;
  watch(connection, EPOLLOUT, EPOLL_CTL_ADD);
}

static void close_socket(struct connection *connection) {
  close(connection->fd);
  connection->fd = -1;
  connection->state = UNUSED;
}

static void make_idle(struct connection *connection) {
  enum role role = connection->role;
  if (connection->state != UNUSED) connection->state = IDLE;
  idle[role][idle_count[role]++] = (uint32_t)(connection - connections);
}

static struct connection *take(enum role role, uint32_t most) {
  static uint32_t made[ROLES];
  if (idle_count[role] > 0) return &connections[idle[role][--idle_count[role]]];
  if (made[role] >= most || used == MOST_CONNECTIONS) return NULL;
  struct connection *connection = &connections[used++];
  connection->fd = -1;
  connection->role = role;
  connection->state = UNUSED;
  made[role]++;
  return connection;
}

// Requests.

static void write_request(struct connection *connection) {
  bool is_killer = connection->role == KILLER, is_alike = strcmp(options.killer, "alike") == 0;
  int size = 0;
  if (is_killer && strcmp(options.killer, "new") == 0) {
    unsigned long long path = random_number(), name = random_number();
    size = snprintf(
        connection->request, REQUEST, "GET /storm/%llx HTTP/1.1\r\nhost: bench\r\nx-%llx: %.*s\r\nx-fault: %s\r\n\r\n", path,
        name, (int)(random_number() % 200),
        "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
        "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
        options.fault);
  } else if (is_killer || is_alike) {
    // "none" is no fault, and as long as "trap" and "loop".
    size = snprintf(
        connection->request, REQUEST, "GET /storm HTTP/1.1\r\nhost: bench\r\nuser-agent: storm\r\nx-fault: %s\r\n\r\n",
        is_killer ? options.fault : "none");
  } else {
    size = snprintf(connection->request, REQUEST, "GET /storm HTTP/1.1\r\nhost: bench\r\nuser-agent: storm\r\n\r\n");
  }
  if (size <= 0 || size >= REQUEST) exit(70);
  connection->size = (uint32_t)size;
}

static void finish(struct connection *connection, int status, bool is_filtered, bool keeps, uint64_t time);

static void send_rest(struct connection *connection) {
  while (connection->sent < connection->size) {
    ssize_t sent = send(
        connection->fd, connection->request + connection->sent, connection->size - connection->sent, MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
      watch(connection, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
      return;
    }
    if (sent <= 0) {
      finish(connection, 0, false, false, now());
      return;
    }
    connection->sent += (uint32_t)sent;
  }
}

// Sends one request; `since` is when it was due.
static void ask(struct connection *connection, uint64_t since) {
  struct figures *role = &figures[connection->role];
  connection->since = since;
  connection->sent = connection->got = 0;
  role->sent += attack_begin != 0 && since >= attack_begin;
  write_request(connection);
  if (connection->state == UNUSED) {
    open_socket(connection);
    return;
  }
  connection->state = WAITING;
  send_rest(connection);
}

static void finish(struct connection *connection, int status, bool is_filtered, bool keeps, uint64_t time) {
  struct figures *role = &figures[connection->role];
  if (!keeps) close_socket(connection);
  bool is_answered_in_window = window_begin != 0 && time >= window_begin && (window_end == 0 || time < window_end);
  if (connection->role == KILLER) {
    killers_outstanding--;
    if (options.fresh > 0 && connection->state != UNUSED) close_socket(connection);
  }
  if (status == 200) {
    role->filtered += is_filtered && is_answered_in_window;
    role->unfiltered += !is_filtered && is_in_attack(time);
  } else {
    role->failed += status > 0;
    role->broken += status == 0;
    role->late += status == TOO_LATE;
  }
  if (is_in_window(connection->since, time)) note(&role->latencies, time - connection->since);
  make_idle(connection);
}

// 1 where the answer is whole, 0 where more has to come, -1 where it is none.
static int whole(struct connection *connection, int *status, bool *is_filtered, bool *keeps) {
  char *text = connection->answer;
  text[connection->got] = 0;
  char *end = strstr(text, "\r\n\r\n");
  if (end == NULL) return connection->got == ANSWER ? -1 : 0;
  if (connection->got < 12 || memcmp(text, "HTTP/1.1 ", 9) != 0) return -1;
  char *body = end + 4, *field = strcasestr(text, "\r\ncontent-length:");
  size_t there = connection->got - (size_t)(body - text), wanted = 0;
  if (field != NULL && field < end) {
    wanted = strtoul(field + 17, NULL, 10);
  } else if ((field = strcasestr(text, "\r\ntransfer-encoding:")) != NULL && field < end) {
    // Answers here are so short that the last chunk is where the last bytes are.
    wanted = there >= 5 && memcmp(text + connection->got - 5, "0\r\n\r\n", 5) == 0 ? there : there + 1;
  }
  if (there < wanted) return connection->got == ANSWER ? -1 : 0;
  *status = atoi(text + 9);
  field = strcasestr(text, "\r\nconnection: close");
  *keeps = field == NULL || field > end;
  field = strcasestr(text, "\r\nx-faulty: ok");
  // The plugin has to have seen both ways: the upstream says what came of its request header.
  *is_filtered = field != NULL && field < end && strstr(body, "request:ok") != NULL;
  return 1;
}

static void receive(struct connection *connection) {
  ssize_t got = recv(connection->fd, connection->answer + connection->got, ANSWER - connection->got, 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (connection->state == IDLE) {
    // The server is done with a connection that nobody uses: the next request makes another one.
    close_socket(connection);
    return;
  }
  int status = 0;
  bool is_filtered = false, keeps = false;
  if (got > 0) {
    connection->got += (uint32_t)got;
    int found = whole(connection, &status, &is_filtered, &keeps);
    if (found == 0) return;
    if (found < 0) status = 0, keeps = false;
  }
  finish(connection, status, is_filtered, keeps, now());
}

static void handle(struct connection *connection, uint32_t events) {
  if (connection->state == UNUSED) return;
  if (connection->state == CONNECTING) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
      finish(connection, 0, false, false, now());
      return;
    }
    watch(connection, EPOLLIN, EPOLL_CTL_MOD);
    connection->state = WAITING;
    send_rest(connection);
    return;
  }
  if (connection->state == WAITING && (events & EPOLLOUT) != 0) {
    watch(connection, EPOLLIN, EPOLL_CTL_MOD);
    send_rest(connection);
  }
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && connection->state != UNUSED) receive(connection);
}

// Time.

static void give_up_on_late(uint64_t time) {
  for (uint32_t i = 0; i < used; i++) {
    struct connection *connection = &connections[i];
    if ((connection->state == WAITING || connection->state == CONNECTING) && connection->since + PATIENCE < time) {
      finish(connection, TOO_LATE, false, false, time);
    }
  }
}

static void ask_due_probes(void) {
  while (probes_taken < probes_due) {
    struct connection *connection = take(PROBE, PROBE_CONNECTIONS);
    if (connection == NULL) return;
    ask(connection, due_probes[probes_taken++]);
  }
}

static void attack(uint64_t due) {
  struct connection *connection =
      killers_outstanding < (uint32_t)options.outstanding ? take(KILLER, (uint32_t)options.outstanding) : NULL;
  if (connection == NULL) {
    figures[KILLER].unsent++;
    return;
  }
  killers_outstanding++;
  ask(connection, due);
}

static void run(void) {
  uint64_t begin = now(), next_probe = begin, next_killer = 0, killers = 0, next_look = begin;
  warm_until = begin + WARM_MS * 1000000ull;
  for (;;) {
    uint64_t time = now();
    if (attack_begin == 0 && time >= warm_until) {
      attack_begin = next_killer = time;
      if (options.after == 0 || options.rate == 0) window_begin = time;
    }
    if (window_begin == 0 && attack_begin != 0 && figures[KILLER].sent >= options.after) window_begin = time;
    if (window_begin != 0 && window_end == 0 && time >= window_begin + (uint64_t)(options.seconds * (double)SECOND)) {
      window_end = time;
    }
    bool is_over = window_end != 0;
    // A storm that takes the server down so that the window never begins has to end too.
    if (window_begin == 0 && attack_begin != 0 && time > attack_begin + 30 * SECOND) window_begin = window_end = time;
    if (!is_over) {
      for (; options.probes > 0 && next_probe <= time; next_probe += (uint64_t)((double)SECOND / options.probes)) {
        if (probes_due == probes_room) {
          probes_room = probes_room == 0 ? 1 << 14 : probes_room * 2;
          due_probes = realloc(due_probes, probes_room * sizeof *due_probes);
          if (due_probes == NULL) die("realloc");
        }
        due_probes[probes_due++] = next_probe;
      }
      for (; options.rate > 0 && attack_begin != 0 && next_killer <= time; killers++) {
        attack(next_killer);
        next_killer = attack_begin + (uint64_t)((double)(killers + 1) * (double)SECOND / options.rate);
      }
      for (struct connection *connection; (connection = take(CLOSED, (uint32_t)options.closed)) != NULL;) {
        ask(connection, now());
      }
    }
    ask_due_probes();
    if (time >= next_look) {
      give_up_on_late(time);
      next_look = time + SECOND / 20;
    }
    if (is_over) {
      bool is_drained = probes_taken == probes_due;
      for (uint32_t i = 0; i < used && is_drained; i++) {
        is_drained = connections[i].state != WAITING && connections[i].state != CONNECTING;
      }
      if (is_drained || time >= window_end + DRAIN) return;
    }
    uint64_t next = next_look;
    if (!is_over) {
      if (options.probes > 0 && next_probe < next) next = next_probe;
      if (options.rate > 0 && attack_begin != 0 && next_killer < next) next = next_killer;
      if (attack_begin == 0 && warm_until < next) next = warm_until;
    }
    time = now();
    uint64_t wait = next > time ? next - time : 0;
    struct timespec timeout = {.tv_sec = (time_t)(wait / SECOND), .tv_nsec = (long)(wait % SECOND)};
    struct epoll_event events[EVENTS];
    int count = epoll_pwait2(poller, events, EVENTS, &timeout, NULL);
    if (count < 0 && errno != EINTR) die("epoll_pwait2");
    for (int i = 0; i < count; i++) handle(&connections[events[i].data.u32], events[i].events);
  }
}

// What has no answer at the end has waited for at least so long, and has failed.
static void count_unanswered(uint64_t time) {
  for (uint32_t i = 0; i < used; i++) {
    struct connection *connection = &connections[i];
    if (connection->state != WAITING && connection->state != CONNECTING) continue;
    figures[connection->role].late++;
    if (is_in_window(connection->since, time)) note(&figures[connection->role].latencies, time - connection->since);
  }
  for (; probes_taken < probes_due; probes_taken++) {
    figures[PROBE].late++;
    note(&figures[PROBE].latencies, time - due_probes[probes_taken]);
  }
}

static int compare(const void *left, const void *right) {
  uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
  return a < b ? -1 : a > b;
}

static void tell(const char *name, struct figures *role, const char *end) {
  struct samples *latencies = &role->latencies;
  if (latencies->count > 0) qsort(latencies->values, latencies->count, sizeof *latencies->values, compare);
#define QUANTILE(share) (latencies->count == 0 ? 0 : latencies->values[(size_t)((double)(latencies->count - 1) * (share))])
  printf(
      "\"%s\": {\"filtered\": %llu, \"unfiltered\": %llu, \"failed\": %llu, \"broken\": %llu, \"late\": %llu, "
      "\"sent\": %llu, \"unsent\": %llu, \"count\": %zu, \"p50\": %u, \"p99\": %u, \"max\": %u}%s",
      name, (unsigned long long)role->filtered, (unsigned long long)role->unfiltered, (unsigned long long)role->failed,
      (unsigned long long)role->broken, (unsigned long long)role->late, (unsigned long long)role->sent,
      (unsigned long long)role->unsent, latencies->count, QUANTILE(0.5), QUANTILE(0.99), QUANTILE(1), end);
#undef QUANTILE
}

static bool number_option(const char *text) {
  static const struct { const char *name; double *value; } known[] = {
    {"closed=", &options.closed}, {"probes=", &options.probes}, {"rate=", &options.rate},
    {"seconds=", &options.seconds}, {"after=", &options.after}, {"outstanding=", &options.outstanding},
    {"sources=", &options.sources}, {"fresh=", &options.fresh},
  };
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    size_t size = strlen(known[i].name);
    char *end = NULL;
    if (strncmp(text, known[i].name, size) != 0) continue;
    *known[i].value = strtod(text + size, &end);
    return *end == 0 && *known[i].value >= 0;
  }
  return false;
}

int main(int count, char **arguments) {
  if (count < 2) return 64;
  for (int i = 2; i < count; i++) {
    if (strncmp(arguments[i], "fault=", 6) == 0) {
      options.fault = arguments[i] + 6;
    } else if (strncmp(arguments[i], "killer=", 7) == 0) {
      options.killer = arguments[i] + 7;
    } else if (!number_option(arguments[i])) {
      fprintf(stderr, "storm: what is %s?\n", arguments[i]);
      return 64;
    }
  }
  if (options.closed + options.outstanding + PROBE_CONNECTIONS > MOST_CONNECTIONS || options.sources > 250) return 64;
  signal(SIGPIPE, SIG_IGN);
  server.sin_family = AF_INET;
  server.sin_port = htons((uint16_t)atoi(arguments[1]));
  server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  poller = epoll_create1(EPOLL_CLOEXEC);
  if (poller < 0) die("epoll_create1");
  run();
  count_unanswered(now());
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  printf("{\"seconds\": %.3f, \"attack\": %.3f, \"cpu\": %.3f, ", (double)(window_end - window_begin) / 1e9,
      (double)(window_end - attack_begin) / 1e9,
      (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
          (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
  tell("closed", &figures[CLOSED], ", ");
  tell("probe", &figures[PROBE], ", ");
  tell("killer", &figures[KILLER], "}\n");
  return 0;
}
