// A plugin of the chaos run. It leaves its name on request (x-passed) and response (x-seen), and fails where a request says
// so: `x-chaos: NAME:FAULT` in its request headers, `x-chaos-body` in its request body, `x-chaos-response` in its response
// headers, `x-chaos-tail` in its response body, where NAME is what its configuration says. As a NETWORK plugin it does the
// same where a connection's data begins with `NAME:FAULT` and a line's end.
//
// Faults: trap, exit, loop, leak (a mebibyte that stays; a trap when there is no more), flood (of log lines), spin
// (20 milliseconds of work).
//
// With "calls" in its configuration each request waits for the answer to a call out, with "ticks" each tick puts a message
// on a shared queue, which it takes off again.
#include "proxy_wasm.h"

static char name[32];
static size_t name_size;
static volatile uint32_t sink;
static bool makes_calls;
static uint32_t queue;
static bool has_queue;

// The contexts that wait for the answer to a call, by the call's number.
enum { CALLS = 1024 };
static struct { uint32_t call, context; } calls[CALLS];

PW_NOINLINE static void leak(void) {
  size_t before = __builtin_wasm_memory_grow(0, 16);
  if (before == (size_t)-1) __builtin_trap();
  for (size_t page = before; page < before + 16; page++) *(volatile char *)(page * PW_PAGE) = 1;
}

PW_NOINLINE static void flood(void) {
  for (uint32_t line = 0; line < 5000; line++) log_text(LOG_WARN, T("flood"));
}

PW_NOINLINE static void spin(void) {
  uint64_t start = 0, now = 0;
  wasi_clock_time_get(1, 0, &start);
  do {
    for (uint32_t i = 0; i < 1000; i++) sink++;
    wasi_clock_time_get(1, 0, &now);
  } while (now - start < 20000000u);
}

static void fail_by(const char *value, size_t size) {
  if (size <= name_size || value[name_size] != ':') return;
  for (size_t i = 0; i < name_size; i++) {
    if (value[i] != name[i]) return;
  }
  const char *fault = value + name_size + 1;
  size_t fault_size = size - name_size - 1;
  if (text_equal(fault, fault_size, "trap")) __builtin_trap();
  if (text_equal(fault, fault_size, "exit")) wasi_proc_exit(3);
  if (text_equal(fault, fault_size, "loop")) for (;;) sink++;
  if (text_equal(fault, fault_size, "leak")) leak();
  if (text_equal(fault, fault_size, "flood")) flood();
  if (text_equal(fault, fault_size, "spin")) spin();
}

static void fail_where_asked(uint32_t map, const char *header, size_t header_size) {
  char *value;
  size_t size;
  if (header_get(map, header, header_size, &value, &size)) fail_by(value, size);
}

PW_EXPORT(proxy_on_configure) uint32_t proxy_on_configure(uint32_t root, uint32_t size) {
  (void)root;
  arena_reset();
  char *data;
  size_t got;
  if (!configuration_get(size, &data, &got)) return 0;
  int at = text_find(data, got, "\"name\":\"");
  if (at < 0) return 0;
  for (size_t i = (size_t)at + 8; i < got && data[i] != '"' && name_size < sizeof name; i++) name[name_size++] = data[i];
  makes_calls = text_find(data, got, "\"calls\"") >= 0;
  if (text_find(data, got, "\"ticks\"") >= 0) {
    has_queue = proxy_register_shared_queue(T("chaos"), &queue) == STATUS_OK;
    if (!has_queue || proxy_set_tick_period_milliseconds(20) != STATUS_OK) return 0;
  }
  return name_size > 0;
}

PW_EXPORT(proxy_on_tick) void proxy_on_tick(uint32_t root) {
  (void)root;
  if (has_queue) proxy_enqueue_shared_queue(queue, T("tick"));
}

PW_EXPORT(proxy_on_queue_ready) void proxy_on_queue_ready(uint32_t root, uint32_t token) {
  (void)root;
  arena_reset();
  char *value;
  size_t size;
  while (proxy_dequeue_shared_queue(token, &value, &size) == STATUS_OK) sink++;
}

static bool waits_for_call(uint32_t context) {
  // Three pairs, serialized: count, sizes, then names and values with their zeros.
  static const char pairs[] = "\3\0\0\0\7\0\0\0\3\0\0\0\5\0\0\0\1\0\0\0\12\0\0\0\1\0\0\0"
                              ":method\0GET\0:path\0/\0:authority\0a";
  uint32_t call;
  if (proxy_http_call(T("echo"), pairs, sizeof(pairs), NULL, 0, NULL, 0, 5000, &call) != STATUS_OK) return false;
  calls[call % CALLS].call = call;
  calls[call % CALLS].context = context;
  return true;
}

PW_EXPORT(proxy_on_http_call_response)
void proxy_on_http_call_response(uint32_t root, uint32_t call, uint32_t headers, size_t body, uint32_t trailers) {
  (void)root, (void)headers, (void)body, (void)trailers;
  if (calls[call % CALLS].call != call) return;
  proxy_set_effective_context(calls[call % CALLS].context);
  proxy_continue_stream(0);
}

PW_EXPORT(proxy_on_request_headers)
uint32_t proxy_on_request_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)count, (void)end;
  arena_reset();
  fail_where_asked(MAP_REQUEST, T("x-chaos"));
  header_add(MAP_REQUEST, T("x-passed"), name, name_size);
  return makes_calls && waits_for_call(context) ? PAUSE : CONTINUE;
}

PW_EXPORT(proxy_on_request_body) uint32_t proxy_on_request_body(uint32_t context, uint32_t size, uint32_t end) {
  (void)context, (void)end;
  arena_reset();
  char *data;
  size_t got;
  if (size > 0 && proxy_get_buffer_bytes(BUFFER_REQUEST_BODY, 0, size, &data, &got) == STATUS_OK && got > 0) {
    sink += (uint8_t)data[0];
  }
  fail_where_asked(MAP_REQUEST, T("x-chaos-body"));
  return CONTINUE;
}

PW_EXPORT(proxy_on_response_headers)
uint32_t proxy_on_response_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)context, (void)count, (void)end;
  arena_reset();
  fail_where_asked(MAP_REQUEST, T("x-chaos-response"));
  header_add(MAP_RESPONSE, T("x-seen"), name, name_size);
  return CONTINUE;
}

PW_EXPORT(proxy_on_response_body) uint32_t proxy_on_response_body(uint32_t context, size_t size, uint32_t end) {
  (void)context, (void)size, (void)end;
  arena_reset();
  fail_where_asked(MAP_REQUEST, T("x-chaos-tail"));
  return CONTINUE;
}

PW_EXPORT(proxy_on_new_connection) uint32_t proxy_on_new_connection(uint32_t context) {
  (void)context;
  return CONTINUE;
}

PW_EXPORT(proxy_on_downstream_data)
uint32_t proxy_on_downstream_data(uint32_t context, uint32_t size, uint32_t end) {
  (void)context, (void)end;
  arena_reset();
  char *data;
  size_t got;
  if (size == 0 || proxy_get_buffer_bytes(BUFFER_DOWNSTREAM_DATA, 0, size, &data, &got) != STATUS_OK) return CONTINUE;
  for (size_t i = 0; i < got && i < 64; i++) {
    if (data[i] == '\n') {
      fail_by(data, i);
      break;
    }
  }
  return CONTINUE;
}
