// Fails on demand. A header of the request names the fault and by its own name the phase:
//
//   x-fault           in proxy_on_request_headers
//   x-fault-response  in proxy_on_response_headers
//   x-fault-log       in proxy_on_log
//
// The environment variable FAULT_VM_START names one for proxy_on_vm_start, the configuration {"configure": "FAULT"} one
// for proxy_on_configure. Where nothing fails, request and response get `x-faulty: ok`.
//
// Faults: trap, exit (proc_exit), loop, memory (grow until refused, then trap), grow (the same, but live on and say how
// far it went in x-grown-pages), div0, stackoverflow, oob, badcall, log-flood, log-huge, slow:N (busy for N
// milliseconds), refuse (in the two start callbacks: say no).
#include "proxy_wasm.h"

enum { FAULT_NAME = 32, STREAMS = 1024 };

// What a stream asked for in its request, by context id.
static struct stream {
  uint32_t context;
  char response[FAULT_NAME], log[FAULT_NAME];
  uint32_t response_size, log_size;
} streams[STREAMS];

static volatile uint32_t sink;
static volatile uint32_t zero;
static uint32_t grown_pages;

PW_NOINLINE static void fault_trap(void) { __builtin_trap(); }

PW_NOINLINE static void fault_loop(void) {
  for (;;) sink++;
}

PW_NOINLINE static void grow_until_refused(void) {
  for (;;) {
    size_t before = __builtin_wasm_memory_grow(0, 16);
    if (before == (size_t)-1) break;
    grown_pages += 16;
    for (size_t page = before; page < before + 16; page++) *(volatile char *)(page * PW_PAGE) = 1;
  }
}

PW_NOINLINE static void fault_memory(void) {
  grow_until_refused();
  __builtin_trap();
}

PW_NOINLINE static void fault_division(void) { sink = 1000 / zero; }

PW_NOINLINE static uint32_t fault_stack_overflow(uint32_t depth) {
  volatile uint32_t keep = depth;
  if (zero != 0) return keep;
  return fault_stack_overflow(depth + 1) + keep;
}

PW_NOINLINE static void fault_out_of_bounds(void) { sink = *(volatile uint32_t *)0xfffffff0u; }

PW_NOINLINE static void fault_bad_call(void) {
  void (*volatile nowhere)(void) = (void (*)(void))0x7fffffffu;
  nowhere();
}

PW_NOINLINE static void fault_log_flood(void) {
  for (uint32_t line = 0; line < 20000; line++) {
    struct text text;
    text.size = 0;
    text_add(&text, T("flood line "));
    text_add_number(&text, line);
    log_text(LOG_WARN, text.data, text.size);
  }
}

PW_NOINLINE static void fault_log_huge(void) {
  char *line = arena_allocate(1 << 20);
  if (line == NULL) return;
  memset(line, 'h', 1 << 20);
  log_text(LOG_WARN, line, 1 << 20);
}

PW_NOINLINE static void fault_slow(uint64_t milliseconds) {
  uint64_t start = 0, now = 0;
  wasi_clock_time_get(1, 0, &start);
  do {
    for (uint32_t i = 0; i < 1000; i++) sink++;
    wasi_clock_time_get(1, 0, &now);
  } while (now - start < milliseconds * 1000000u);
}

static void fail(const char *name, size_t size) {
  if (text_equal(name, size, "trap")) fault_trap();
  if (text_equal(name, size, "exit")) wasi_proc_exit(3);
  if (text_equal(name, size, "loop")) fault_loop();
  if (text_equal(name, size, "memory")) fault_memory();
  if (text_equal(name, size, "grow")) grow_until_refused();
  if (text_equal(name, size, "div0")) fault_division();
  if (text_equal(name, size, "stackoverflow")) sink = fault_stack_overflow(0);
  if (text_equal(name, size, "oob")) fault_out_of_bounds();
  if (text_equal(name, size, "badcall")) fault_bad_call();
  if (text_equal(name, size, "log-flood")) fault_log_flood();
  if (text_equal(name, size, "log-huge")) fault_log_huge();
  if (text_has_prefix(name, size, "slow:")) fault_slow(text_number(name + 5, size - 5));
}

static uint32_t keep(char *to, const char *name, size_t size) {
  if (size > FAULT_NAME) size = FAULT_NAME;
  memcpy(to, name, size);
  return size;
}

PW_EXPORT(proxy_on_vm_start) uint32_t proxy_on_vm_start(uint32_t root, uint32_t size) {
  (void)root, (void)size;
  size_t count = 0, bytes = 0;
  if (wasi_environ_sizes_get(&count, &bytes) != 0 || count == 0) return 1;
  char **pointers = arena_allocate(count * sizeof(char *));
  char *buffer = arena_allocate(bytes);
  if (pointers == NULL || buffer == NULL || wasi_environ_get(pointers, buffer) != 0) return 1;
  for (size_t i = 0; i < count; i++) {
    size_t length = 0;
    while (pointers[i][length] != 0) length++;
    if (!text_has_prefix(pointers[i], length, "FAULT_VM_START=")) continue;
    fail(pointers[i] + 15, length - 15);
    if (text_equal(pointers[i] + 15, length - 15, "refuse")) return 0;
  }
  return 1;
}

PW_EXPORT(proxy_on_configure) uint32_t proxy_on_configure(uint32_t root, uint32_t size) {
  (void)root;
  arena_reset();
  char *data;
  size_t got;
  if (!configuration_get(size, &data, &got)) return 1;
  int start = text_find(data, got, "\"configure\":");
  if (start < 0) return 1;
  size_t from = (size_t)start + 12;
  while (from < got && (data[from] == ' ' || data[from] == '"')) from++;
  size_t to = from;
  while (to < got && data[to] != '"') to++;
  fail(data + from, to - from);
  return !text_equal(data + from, to - from, "refuse");
}

PW_EXPORT(proxy_on_request_headers)
uint32_t proxy_on_request_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)count, (void)end;
  arena_reset();
  struct stream *stream = &streams[context % STREAMS];
  char *value;
  size_t size;
  stream->context = context;
  header_get(MAP_REQUEST, T("x-fault-response"), &value, &size);
  stream->response_size = keep(stream->response, value, size);
  header_get(MAP_REQUEST, T("x-fault-log"), &value, &size);
  stream->log_size = keep(stream->log, value, size);
  if (header_get(MAP_REQUEST, T("x-fault"), &value, &size)) fail(value, size);
  header_add(MAP_REQUEST, T("x-faulty"), T("ok"));
  return CONTINUE;
}

PW_EXPORT(proxy_on_response_headers)
uint32_t proxy_on_response_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)count, (void)end;
  arena_reset();
  struct stream *stream = &streams[context % STREAMS];
  if (stream->context == context) fail(stream->response, stream->response_size);
  if (grown_pages != 0) header_add_number(MAP_RESPONSE, T("x-grown-pages"), grown_pages);
  header_add(MAP_RESPONSE, T("x-faulty"), T("ok"));
  return CONTINUE;
}

PW_EXPORT(proxy_on_log) void proxy_on_log(uint32_t context) {
  arena_reset();
  struct stream *stream = &streams[context % STREAMS];
  if (stream->context == context) fail(stream->log, stream->log_size);
}
