// The peer of Envoy's ext_proc in the benchmark: a gRPC server on a Unix socket that does what the plugin `header`
// does, as fast as such a server can be. One thread; HTTP/2 as far as Envoy speaks it to an ext_proc service: request
// headers need no decoding, because there is only one method.
//
//   ext_proc SOCKET
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { CONNECTIONS = 64, STREAMS = 4096, FRAME_MAX = 1 << 16, MESSAGE_MAX = 1 << 16 };
enum { DATA = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, PING = 6, WINDOW_UPDATE = 8 };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8 };

struct stream {
  uint32_t id;
  bool answered;
  uint32_t size;
  uint8_t *bytes; // what has come of the next message
};

struct connection {
  int fd;
  size_t got;
  bool greeted;
  uint32_t unacknowledged;
  uint8_t in[2 * FRAME_MAX];
  size_t out_size;
  uint8_t out[4 * FRAME_MAX];
  struct stream streams[STREAMS];
};

static struct connection *connections[CONNECTIONS];

// Output: gathered, and written when all that was read is dealt with.

static void flush(struct connection *c) {
  for (size_t sent = 0; sent < c->out_size;) {
    ssize_t count = send(c->fd, c->out + sent, c->out_size - sent, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    sent += (size_t)count;
  }
  c->out_size = 0;
}

static void frame(struct connection *c, uint8_t type, uint8_t flags, uint32_t stream, const void *body, uint32_t size) {
  if (c->out_size + 9 + size > sizeof c->out) flush(c);
  uint8_t *to = c->out + c->out_size;
  uint8_t head[9] = {
      (uint8_t)(size >> 16), (uint8_t)(size >> 8), (uint8_t)size, type, flags,
      (uint8_t)(stream >> 24), (uint8_t)(stream >> 16), (uint8_t)(stream >> 8), (uint8_t)stream};
  memcpy(to, head, sizeof head);
  if (size != 0) memcpy(to + sizeof head, body, size);
  c->out_size += sizeof head + size;
}

static void window(struct connection *c, uint32_t size) {
  uint8_t body[4] = {(uint8_t)(size >> 24), (uint8_t)(size >> 16), (uint8_t)(size >> 8), (uint8_t)size};
  frame(c, WINDOW_UPDATE, 0, 0, body, sizeof body);
}

// Protocol buffers: just enough to find a field, and to nest one text in fields.

struct slice {
  const uint8_t *at, *end;
};

static bool varint(struct slice *in, uint64_t *value) {
  *value = 0;
  for (unsigned shift = 0; shift < 64 && in->at < in->end; shift += 7) {
    uint8_t byte = *in->at++;
    *value |= (uint64_t)(byte & 127) << shift;
    if (byte < 128) return true;
  }
  return false;
}

// The next field and its bytes; numbers are skipped with field 0.
static bool next_field(struct slice *in, uint32_t *field, struct slice *body) {
  uint64_t tag, size;
  if (!varint(in, &tag)) return false;
  *field = (uint32_t)(tag >> 3);
  switch (tag & 7) {
  case 0: *field = 0; return varint(in, &size);
  case 1: size = 8; break;
  case 2:
    if (!varint(in, &size)) return false;
    break;
  case 5: size = 4; break;
  default: return false;
  }
  if (size > (uint64_t)(in->end - in->at)) return false;
  *body = (struct slice){in->at, in->at + size};
  in->at += size;
  return true;
}

static struct slice field_of(struct slice message, uint32_t wanted) {
  uint32_t field;
  struct slice body = {NULL, NULL};
  while (next_field(&message, &field, &body)) {
    if (field == wanted) return body;
  }
  return (struct slice){NULL, NULL};
}

static bool is_text(struct slice text, const char *literal) {
  size_t size = strlen(literal);
  return (size_t)(text.end - text.at) == size && memcmp(text.at, literal, size) == 0;
}

// HttpHeaders { headers = 1: HeaderMap { headers = 1: HeaderValue { key = 1, value = 2, raw_value = 3 } } }
static struct slice header(struct slice headers, const char *name) {
  struct slice map = field_of(headers, 1), entry;
  uint32_t field;
  while (next_field(&map, &field, &entry)) {
    if (field != 1 || !is_text(field_of(entry, 1), name)) continue;
    struct slice value = field_of(entry, 3);
    return value.at != NULL ? value : field_of(entry, 2);
  }
  return (struct slice){NULL, NULL};
}

// Puts a field's tag and size in front of what ends at `end`; everything is shorter than 128 * 128 bytes.
static uint8_t *wrap(uint8_t *start, const uint8_t *end, uint32_t field) {
  uint32_t size = (uint32_t)(end - start);
  if (size >= 128) {
    *--start = (uint8_t)(size >> 7);
    *--start = (uint8_t)(size | 128);
  } else {
    *--start = (uint8_t)size;
  }
  *--start = (uint8_t)(field << 3 | 2);
  return start;
}

static uint8_t *prepend(uint8_t *start, const void *bytes, size_t size) { return memcpy(start - size, bytes, size); }

// ProcessingResponse { phase: HeadersResponse { response = 1: CommonResponse { header_mutation = 2: HeaderMutation {
//   set_headers = 1: HeaderValueOption { header = 1: HeaderValue } } } } }
static void answer(
    struct connection *c, uint32_t stream, uint32_t phase, const char *name, const void *value, size_t size) {
  uint8_t room[8192], *end = room + sizeof room;
  if (size > 4096) size = 4096;
  uint8_t *start = wrap(prepend(end, value, size), end, 3);
  uint8_t *value_start = start;
  start = wrap(prepend(start, name, strlen(name)), value_start, 1);
  start = wrap(start, end, 1); // HeaderValueOption.header
  start = wrap(start, end, 1); // HeaderMutation.set_headers
  start = wrap(start, end, 2); // CommonResponse.header_mutation
  start = wrap(start, end, 1); // HeadersResponse.response
  start = wrap(start, end, phase);
  uint32_t length = (uint32_t)(end - start);
  uint8_t prefix[5] = {0, (uint8_t)(length >> 24), (uint8_t)(length >> 16), (uint8_t)(length >> 8), (uint8_t)length};
  start = prepend(start, prefix, sizeof prefix);
  frame(c, DATA, 0, stream, start, (uint32_t)(end - start));
}

// A ProcessingRequest: field 2 are request headers, field 3 response headers.
static void message(struct connection *c, struct stream *s, struct slice request) {
  if (!s->answered) {
    // :status 200, content-type application/grpc
    static const uint8_t headers[] = "\x88\x0f\x10\x10" "application/grpc";
    frame(c, HEADERS, END_HEADERS, s->id, headers, sizeof headers - 1);
    s->answered = true;
  }
  struct slice headers = field_of(request, 2);
  if (headers.at != NULL) {
    struct slice agent = header(headers, "user-agent");
    if (agent.at == NULL) answer(c, s->id, 1, "x-bench-request", "none", 4);
    else answer(c, s->id, 1, "x-bench-request", agent.at, (size_t)(agent.end - agent.at));
  } else {
    answer(c, s->id, 2, "x-bench-response", "bulkhead", 8);
  }
}

static struct stream *stream_of(struct connection *c, uint32_t id) {
  struct stream *s = &c->streams[(id / 2) % STREAMS];
  if (s->id != id) {
    s->id = id;
    s->answered = false;
    s->size = 0;
  }
  return s;
}

static void data(struct connection *c, struct stream *s, struct slice body) {
  if (s->bytes == NULL && (s->bytes = malloc(MESSAGE_MAX)) == NULL) exit(1);
  size_t size = (size_t)(body.end - body.at);
  if (size > MESSAGE_MAX - s->size) exit(1);
  memcpy(s->bytes + s->size, body.at, size);
  s->size += (uint32_t)size;
  uint32_t at = 0;
  while (s->size - at >= 5) {
    const uint8_t *prefix = s->bytes + at;
    uint32_t length = (uint32_t)prefix[1] << 24 | (uint32_t)prefix[2] << 16 | (uint32_t)prefix[3] << 8 | prefix[4];
    if (length > s->size - at - 5) break;
    message(c, s, (struct slice){prefix + 5, prefix + 5 + length});
    at += 5 + length;
  }
  s->size -= at;
  memmove(s->bytes, s->bytes + at, s->size);
}

static void finish(struct connection *c, struct stream *s) {
  static const uint8_t trailers[] = "\x00\x0b" "grpc-status" "\x01" "0";
  frame(c, HEADERS, END_HEADERS | END_STREAM, s->id, trailers, sizeof trailers - 1);
  s->id = 0;
}

static void received(struct connection *c, uint8_t type, uint8_t flags, uint32_t id, struct slice body) {
  switch (type) {
  case SETTINGS:
    if (!(flags & ACK)) frame(c, SETTINGS, ACK, 0, NULL, 0);
    break;
  case PING:
    if (!(flags & ACK)) frame(c, PING, ACK, 0, body.at, (uint32_t)(body.end - body.at));
    break;
  case DATA: {
    c->unacknowledged += (uint32_t)(body.end - body.at);
    if (c->unacknowledged > 1 << 20) {
      window(c, c->unacknowledged);
      c->unacknowledged = 0;
    }
    if (flags & PADDED && body.at < body.end) {
      uint8_t padding = *body.at++;
      if (padding <= body.end - body.at) body.end -= padding;
    }
    struct stream *s = stream_of(c, id);
    data(c, s, body);
    if (flags & END_STREAM) finish(c, s);
    break;
  }
  case RST_STREAM: stream_of(c, id)->id = 0; break;
  }
}

// Takes what there is to read; false where the connection is over.
static bool serve(struct connection *c) {
  ssize_t count = recv(c->fd, c->in + c->got, sizeof c->in - c->got, 0);
  if (count <= 0) return count < 0 && errno == EINTR;
  c->got += (size_t)count;
  size_t at = 0;
  if (!c->greeted) {
    if (c->got < 24) return true;
    at = 24; // the client's preface
    c->greeted = true;
    // INITIAL_WINDOW_SIZE as large as it gets: no stream ever waits for us.
    static const uint8_t settings[] = {0, 4, 0x7f, 0xff, 0xff, 0xff};
    frame(c, SETTINGS, 0, 0, settings, sizeof settings);
    window(c, 1 << 30);
  }
  while (c->got - at >= 9) {
    const uint8_t *head = c->in + at;
    uint32_t size = (uint32_t)head[0] << 16 | (uint32_t)head[1] << 8 | head[2];
    if (size > FRAME_MAX) return false;
    if (c->got - at - 9 < size) break;
    uint32_t id = (uint32_t)(head[5] & 127) << 24 | (uint32_t)head[6] << 16 | (uint32_t)head[7] << 8 | head[8];
    received(c, head[3], head[4], id, (struct slice){head + 9, head + 9 + size});
    at += 9 + size;
  }
  c->got -= at;
  memmove(c->in, c->in + at, c->got);
  flush(c);
  return true;
}

int main(int count, char **arguments) {
  if (count != 2) return 64;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(arguments[1]) >= sizeof address.sun_path) return 64;
  strcpy(address.sun_path, arguments[1]);
  int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 64) < 0) {
    perror("ext_proc");
    return 1;
  }
  struct pollfd polled[CONNECTIONS + 1];
  for (;;) {
    nfds_t entries = 0;
    polled[entries++] = (struct pollfd){.fd = listener, .events = POLLIN};
    for (size_t i = 0; i < CONNECTIONS; i++) {
      if (connections[i] != NULL) polled[entries++] = (struct pollfd){.fd = connections[i]->fd, .events = POLLIN};
    }
    if (poll(polled, entries, -1) < 0) continue;
    for (nfds_t entry = 1; entry < entries; entry++) {
      if (polled[entry].revents == 0) continue;
      for (size_t i = 0; i < CONNECTIONS; i++) {
        struct connection *c = connections[i];
        if (c == NULL || c->fd != polled[entry].fd) continue;
        if (!serve(c)) {
          close(c->fd);
          for (size_t s = 0; s < STREAMS; s++) free(c->streams[s].bytes);
          free(c);
          connections[i] = NULL;
        }
        break;
      }
    }
    if (polled[0].revents == 0) continue;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    for (size_t i = 0; fd >= 0 && i < CONNECTIONS; i++) {
      if (connections[i] != NULL) continue;
      if ((connections[i] = calloc(1, sizeof **connections)) == NULL) return 1;
      connections[i]->fd = fd;
      fd = -1;
    }
    if (fd >= 0) close(fd);
  }
}
