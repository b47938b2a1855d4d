// Never comes back from the callback that the request names in its header x-stuck: request_headers, request_body,
// request_trailers, response_headers, response_body, response_trailers, log. The configuration {"stuck": NAME} does the
// same to configure, tick and call (the answer to a call that each request makes to the upstream `up`), an environment
// variable of any name to vm_start.
#include "proxy_wasm.h"

enum { STREAMS = 1024 };
enum callback {
  NONE, REQUEST_HEADERS, REQUEST_BODY, REQUEST_TRAILERS, RESPONSE_HEADERS, RESPONSE_BODY, RESPONSE_TRAILERS, LOG,
  CONFIGURE, TICK, CALL
};

static const char *const names[] = {
  "none", "request_headers", "request_body", "request_trailers", "response_headers", "response_body",
  "response_trailers", "log", "configure", "tick", "call",
};

static enum callback streams[STREAMS];
static enum callback configured;
static volatile uint32_t sink;

static bool is(const char *text, size_t size, const char *name) {
  for (size_t i = 0; i < size; i++) {
    if (name[i] == 0 || name[i] != text[i]) return false;
  }
  return name[size] == 0;
}

static enum callback named(const char *text, size_t size) {
  for (uint32_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
    if (is(text, size, names[i])) return (enum callback)i;
  }
  return NONE;
}

PW_NOINLINE static void stuck_for_ever(void) {
  for (;;) sink++;
}

static void reach(uint32_t context, enum callback callback) {
  if (configured == callback || streams[context % STREAMS] == callback) stuck_for_ever();
}

PW_EXPORT(proxy_on_vm_start) uint32_t proxy_on_vm_start(uint32_t root, uint32_t size) {
  (void)root, (void)size;
  size_t count = 0, bytes = 0;
  if (wasi_environ_sizes_get(&count, &bytes) == 0 && count > 0) stuck_for_ever();
  return 1;
}

PW_EXPORT(proxy_on_configure) uint32_t proxy_on_configure(uint32_t root, uint32_t size) {
  arena_reset();
  char *data;
  size_t got;
  if (!configuration_get(size, &data, &got)) return 1;
  int start = text_find(data, got, "\"stuck\":\"");
  if (start < 0) return 1;
  size_t from = (size_t)start + 9, to = from;
  while (to < got && data[to] != '"') to++;
  configured = named(data + from, to - from);
  reach(root, CONFIGURE);
  if (configured == TICK) proxy_set_tick_period_milliseconds(20);
  return 1;
}

PW_EXPORT(proxy_on_tick) void proxy_on_tick(uint32_t root) { reach(root, TICK); }

PW_EXPORT(proxy_on_request_headers)
uint32_t proxy_on_request_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)count, (void)end;
  arena_reset();
  char *value;
  size_t size;
  streams[context % STREAMS] = header_get(MAP_REQUEST, T("x-stuck"), &value, &size) ? named(value, size) : NONE;
  if (configured == CALL) {
    // Three pairs, serialized: count, sizes, then names and values with their zeros.
    static const char pairs[] = "\3\0\0\0\7\0\0\0\3\0\0\0\5\0\0\0\1\0\0\0\12\0\0\0\1\0\0\0"
                                ":method\0GET\0:path\0/\0:authority\0a";
    uint32_t call;
    proxy_http_call(T("up"), pairs, sizeof(pairs), NULL, 0, NULL, 0, 5000, &call);
  }
  reach(context, REQUEST_HEADERS);
  return CONTINUE;
}

PW_EXPORT(proxy_on_http_call_response)
void proxy_on_http_call_response(uint32_t root, uint32_t call, uint32_t headers, size_t body, uint32_t trailers) {
  (void)call, (void)headers, (void)body, (void)trailers;
  reach(root, CALL);
}

PW_EXPORT(proxy_on_request_body) uint32_t proxy_on_request_body(uint32_t context, size_t size, uint32_t end) {
  (void)size, (void)end;
  reach(context, REQUEST_BODY);
  return CONTINUE;
}

PW_EXPORT(proxy_on_request_trailers) uint32_t proxy_on_request_trailers(uint32_t context, uint32_t count) {
  (void)count;
  reach(context, REQUEST_TRAILERS);
  return CONTINUE;
}

PW_EXPORT(proxy_on_response_headers)
uint32_t proxy_on_response_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)count, (void)end;
  reach(context, RESPONSE_HEADERS);
  return CONTINUE;
}

PW_EXPORT(proxy_on_response_body) uint32_t proxy_on_response_body(uint32_t context, size_t size, uint32_t end) {
  (void)size, (void)end;
  reach(context, RESPONSE_BODY);
  return CONTINUE;
}

PW_EXPORT(proxy_on_response_trailers) uint32_t proxy_on_response_trailers(uint32_t context, uint32_t count) {
  (void)count;
  reach(context, RESPONSE_TRAILERS);
  return CONTINUE;
}

PW_EXPORT(proxy_on_log) void proxy_on_log(uint32_t context) { reach(context, LOG); }
