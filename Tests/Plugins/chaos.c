// A plugin of the chaos run. It leaves its name on request (x-passed) and response (x-seen), and fails where a request says
// so: `x-chaos: NAME:FAULT` in its request headers, `x-chaos-body` in its request body, `x-chaos-response` in its response
// headers, where NAME is what its configuration says.
//
// Faults: trap, exit, loop, leak (a mebibyte that stays; a trap when there is no more), flood (of log lines), spin
// (20 milliseconds of work).
#include "proxy_wasm.h"

static char name[32];
static size_t name_size;
static volatile uint32_t sink;

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

static void fail_where_asked(uint32_t map, const char *header, size_t header_size) {
  char *value;
  size_t size;
  if (!header_get(map, header, header_size, &value, &size)) return;
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

PW_EXPORT(proxy_on_configure) uint32_t proxy_on_configure(uint32_t root, uint32_t size) {
  (void)root;
  arena_reset();
  char *data;
  size_t got;
  if (!configuration_get(size, &data, &got)) return 0;
  int at = text_find(data, got, "\"name\":\"");
  if (at < 0) return 0;
  for (size_t i = (size_t)at + 8; i < got && data[i] != '"' && name_size < sizeof name; i++) name[name_size++] = data[i];
  return name_size > 0;
}

PW_EXPORT(proxy_on_request_headers)
uint32_t proxy_on_request_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)context, (void)count, (void)end;
  arena_reset();
  fail_where_asked(MAP_REQUEST, T("x-chaos"));
  header_add(MAP_REQUEST, T("x-passed"), name, name_size);
  return CONTINUE;
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
