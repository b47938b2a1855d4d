// The Proxy-Wasm ABI 0.2.1 for test plugins in freestanding C: the host's functions as imports, and a few helpers.
//
// Memory that the host asks for (header values, configuration) comes from an arena that a callback resets with
// `arena_reset`; nothing is ever freed one by one. A plugin that needs its own allocator defines PW_OWN_ALLOCATOR.
#ifndef PROXY_WASM_H
#define PROXY_WASM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PW_IMPORT_FROM(module, name) __attribute__((import_module(module), import_name(#name))) extern
#define PW_IMPORT(name) PW_IMPORT_FROM("env", name)
#define PW_WASI(name) PW_IMPORT_FROM("wasi_snapshot_preview1", name)
#define PW_EXPORT(name) __attribute__((export_name(#name), used, noinline))
#define PW_NOINLINE __attribute__((noinline, used))

enum { LOG_TRACE, LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_CRITICAL };
enum { CONTINUE = 0, PAUSE = 1 };
enum {
  STATUS_OK = 0,
  STATUS_NOT_FOUND = 1,
  STATUS_BAD_ARGUMENT = 2,
  STATUS_SERIALIZATION_FAILURE = 3,
  STATUS_PARSE_FAILURE = 4,
  STATUS_INVALID_MEMORY_ACCESS = 6,
  STATUS_EMPTY = 7,
  STATUS_CAS_MISMATCH = 8,
  STATUS_INTERNAL_FAILURE = 10,
  STATUS_UNIMPLEMENTED = 12
};
enum { MAP_REQUEST = 0, MAP_REQUEST_TRAILERS = 1, MAP_RESPONSE = 2, MAP_RESPONSE_TRAILERS = 3, MAP_CALL_RESPONSE = 6 };
enum {
  BUFFER_REQUEST_BODY = 0,
  BUFFER_RESPONSE_BODY = 1,
  BUFFER_DOWNSTREAM_DATA = 2,
  BUFFER_VM_CONFIGURATION = 6,
  BUFFER_PLUGIN_CONFIGURATION = 7
};
enum { STREAM_REQUEST = 0, STREAM_RESPONSE = 1, STREAM_DOWNSTREAM = 2, STREAM_UPSTREAM = 3 };

// Lifecycle, logging, time.
PW_IMPORT(proxy_done) uint32_t proxy_done(void);
PW_IMPORT(proxy_set_effective_context) uint32_t proxy_set_effective_context(uint32_t context);
PW_IMPORT(proxy_log) uint32_t proxy_log(uint32_t level, const char *message, size_t size);
PW_IMPORT(proxy_get_log_level) uint32_t proxy_get_log_level(uint32_t *level);
PW_IMPORT(proxy_get_current_time_nanoseconds) uint32_t proxy_get_current_time_nanoseconds(uint64_t *time);
PW_IMPORT(proxy_set_tick_period_milliseconds) uint32_t proxy_set_tick_period_milliseconds(uint32_t period);

// Buffers and header maps.
PW_IMPORT(proxy_get_buffer_bytes)
uint32_t proxy_get_buffer_bytes(uint32_t buffer, size_t start, size_t max, char **data, size_t *size);
PW_IMPORT(proxy_get_buffer_status) uint32_t proxy_get_buffer_status(uint32_t buffer, size_t *size, uint32_t *flags);
PW_IMPORT(proxy_set_buffer_bytes)
uint32_t proxy_set_buffer_bytes(uint32_t buffer, size_t start, size_t size, const char *data, size_t data_size);
PW_IMPORT(proxy_get_header_map_size) uint32_t proxy_get_header_map_size(uint32_t map, size_t *size);
PW_IMPORT(proxy_get_header_map_pairs) uint32_t proxy_get_header_map_pairs(uint32_t map, char **data, size_t *size);
PW_IMPORT(proxy_set_header_map_pairs) uint32_t proxy_set_header_map_pairs(uint32_t map, const char *data, size_t size);
PW_IMPORT(proxy_get_header_map_value)
uint32_t proxy_get_header_map_value(uint32_t map, const char *key, size_t key_size, char **value, size_t *value_size);
PW_IMPORT(proxy_add_header_map_value)
uint32_t proxy_add_header_map_value(
    uint32_t map, const char *key, size_t key_size, const char *value, size_t value_size);
PW_IMPORT(proxy_replace_header_map_value)
uint32_t proxy_replace_header_map_value(
    uint32_t map, const char *key, size_t key_size, const char *value, size_t value_size);
PW_IMPORT(proxy_remove_header_map_value)
uint32_t proxy_remove_header_map_value(uint32_t map, const char *key, size_t key_size);

// Streams and properties.
PW_IMPORT(proxy_continue_stream) uint32_t proxy_continue_stream(uint32_t stream);
PW_IMPORT(proxy_close_stream) uint32_t proxy_close_stream(uint32_t stream);
PW_IMPORT(proxy_get_status) uint32_t proxy_get_status(uint32_t *code, char **message, size_t *size);
PW_IMPORT(proxy_send_local_response)
uint32_t proxy_send_local_response(
    uint32_t status, const char *details, size_t details_size, const char *body, size_t body_size, const char *headers,
    size_t headers_size, uint32_t grpc_status);
PW_IMPORT(proxy_get_property)
uint32_t proxy_get_property(const char *path, size_t path_size, char **value, size_t *value_size);
PW_IMPORT(proxy_set_property)
uint32_t proxy_set_property(const char *path, size_t path_size, const char *value, size_t value_size);

// Calls, shared data, queues, metrics.
PW_IMPORT(proxy_http_call)
uint32_t proxy_http_call(
    const char *upstream, size_t upstream_size, const char *headers, size_t headers_size, const char *body,
    size_t body_size, const char *trailers, size_t trailers_size, uint32_t timeout, uint32_t *call);
PW_IMPORT(proxy_grpc_call)
uint32_t proxy_grpc_call(
    const char *upstream, size_t upstream_size, const char *service, size_t service_size, const char *method,
    size_t method_size, const char *metadata, size_t metadata_size, const char *message, size_t message_size,
    uint32_t timeout, uint32_t *call);
PW_IMPORT(proxy_grpc_stream)
uint32_t proxy_grpc_stream(
    const char *upstream, size_t upstream_size, const char *service, size_t service_size, const char *method,
    size_t method_size, const char *metadata, size_t metadata_size, uint32_t *stream);
PW_IMPORT(proxy_grpc_send)
uint32_t proxy_grpc_send(uint32_t stream, const char *message, size_t message_size, uint32_t end);
PW_IMPORT(proxy_grpc_cancel) uint32_t proxy_grpc_cancel(uint32_t call);
PW_IMPORT(proxy_grpc_close) uint32_t proxy_grpc_close(uint32_t call);
PW_IMPORT(proxy_set_shared_data)
uint32_t proxy_set_shared_data(const char *key, size_t key_size, const char *value, size_t value_size, uint32_t cas);
PW_IMPORT(proxy_get_shared_data)
uint32_t proxy_get_shared_data(const char *key, size_t key_size, char **value, size_t *value_size, uint32_t *cas);
PW_IMPORT(proxy_register_shared_queue)
uint32_t proxy_register_shared_queue(const char *name, size_t name_size, uint32_t *queue);
PW_IMPORT(proxy_resolve_shared_queue)
uint32_t proxy_resolve_shared_queue(
    const char *vm, size_t vm_size, const char *name, size_t name_size, uint32_t *queue);
PW_IMPORT(proxy_enqueue_shared_queue)
uint32_t proxy_enqueue_shared_queue(uint32_t queue, const char *value, size_t value_size);
PW_IMPORT(proxy_dequeue_shared_queue)
uint32_t proxy_dequeue_shared_queue(uint32_t queue, char **value, size_t *value_size);
PW_IMPORT(proxy_define_metric)
uint32_t proxy_define_metric(uint32_t type, const char *name, size_t name_size, uint32_t *metric);
PW_IMPORT(proxy_record_metric) uint32_t proxy_record_metric(uint32_t metric, uint64_t value);
PW_IMPORT(proxy_increment_metric) uint32_t proxy_increment_metric(uint32_t metric, int64_t delta);
PW_IMPORT(proxy_get_metric) uint32_t proxy_get_metric(uint32_t metric, uint64_t *value);
PW_IMPORT(proxy_call_foreign_function)
uint32_t proxy_call_foreign_function(
    const char *name, size_t name_size, const char *arguments, size_t arguments_size, char **results,
    size_t *results_size);

// WASI.
struct wasi_vector {
  const char *data;
  size_t size;
};
PW_WASI(fd_write)
uint32_t wasi_fd_write(uint32_t fd, const struct wasi_vector *vectors, size_t count, size_t *written);
PW_WASI(clock_time_get) uint32_t wasi_clock_time_get(uint32_t clock, uint64_t precision, uint64_t *time);
PW_WASI(random_get) uint32_t wasi_random_get(uint8_t *buffer, size_t size);
PW_WASI(environ_sizes_get) uint32_t wasi_environ_sizes_get(size_t *count, size_t *size);
PW_WASI(environ_get) uint32_t wasi_environ_get(char **pointers, char *buffer);
PW_WASI(args_sizes_get) uint32_t wasi_args_sizes_get(size_t *count, size_t *size);
PW_WASI(args_get) uint32_t wasi_args_get(char **pointers, char *buffer);
PW_WASI(proc_exit) _Noreturn void wasi_proc_exit(uint32_t code);

// The compiler may call these on its own; `-nostdlib` means that nobody else provides them.
__attribute__((weak, used)) void *memcpy(void *restrict to, const void *restrict from, size_t size) {
  char *target = to;
  const char *source = from;
  for (size_t i = 0; i < size; i++) target[i] = source[i];
  return to;
}
__attribute__((weak, used)) void *memset(void *to, int value, size_t size) {
  char *target = to;
  for (size_t i = 0; i < size; i++) target[i] = (char)value;
  return to;
}

#define PW_PAGE 65536u

#ifndef PW_OWN_ALLOCATOR
extern char __heap_base;
static uintptr_t arena_next;

static void arena_reset(void) { arena_next = ((uintptr_t)&__heap_base + 15) & ~(uintptr_t)15; }

// Memory until the next `arena_reset`, or NULL where the host lets the memory grow no more.
static void *arena_allocate(size_t size) {
  if (arena_next == 0) arena_reset();
  uintptr_t start = arena_next;
  uintptr_t end = start + ((size + 15) & ~(size_t)15);
  if (end < start) return NULL;
  uintptr_t limit = (uintptr_t)__builtin_wasm_memory_size(0) * PW_PAGE;
  if (end > limit) {
    size_t pages = (end - limit + PW_PAGE - 1) / PW_PAGE;
    if (__builtin_wasm_memory_grow(0, pages) == (size_t)-1) return NULL;
  }
  arena_next = end;
  return (void *)start;
}

PW_EXPORT(proxy_on_memory_allocate) void *proxy_on_memory_allocate(size_t size) { return arena_allocate(size); }
#endif

#ifndef PW_OWN_ABI_VERSION
PW_EXPORT(proxy_abi_version_0_2_1) void proxy_abi_version_0_2_1(void) {}
#endif

// Texts. `T("literal")` expands to pointer and length.

#define T(literal) (literal), (sizeof(literal) - 1)

static inline bool text_equal(const char *data, size_t size, const char *literal) {
  size_t i = 0;
  while (i < size && literal[i] != 0 && data[i] == literal[i]) i++;
  return i == size && literal[i] == 0;
}

static inline bool text_has_prefix(const char *data, size_t size, const char *literal) {
  size_t i = 0;
  while (i < size && literal[i] != 0 && data[i] == literal[i]) i++;
  return literal[i] == 0;
}

// Where `literal` stands in the text, or -1.
static inline int text_find(const char *data, size_t size, const char *literal) {
  for (size_t i = 0; i < size; i++) {
    if (text_has_prefix(data + i, size - i, literal)) return (int)i;
  }
  return -1;
}

// The decimal number that the text starts with; 0 where there is none. Stops before it overflows.
static inline uint64_t text_number(const char *data, size_t size) {
  uint64_t number = 0;
  for (size_t i = 0; i < size && data[i] >= '0' && data[i] <= '9' && number < 100000000000000000u; i++) {
    number = number * 10 + (uint64_t)(data[i] - '0');
  }
  return number;
}

static inline size_t text_of_number(uint64_t number, char *to) {
  char digits[20];
  size_t count = 0;
  do {
    digits[count++] = (char)('0' + number % 10);
    number /= 10;
  } while (number != 0);
  for (size_t i = 0; i < count; i++) to[i] = digits[count - 1 - i];
  return count;
}

// A text that is put together; what does not fit is cut off.
struct text {
  char data[4096];
  size_t size;
};
static inline void text_add(struct text *text, const char *data, size_t size) {
  for (size_t i = 0; i < size && text->size < sizeof text->data; i++) text->data[text->size++] = data[i];
}
static inline void text_add_number(struct text *text, uint64_t number) {
  char digits[20];
  text_add(text, digits, text_of_number(number, digits));
}

// Headers.

static inline bool header_get(uint32_t map, const char *key, size_t key_size, char **value, size_t *size) {
  *value = NULL;
  *size = 0;
  return proxy_get_header_map_value(map, key, key_size, value, size) == STATUS_OK;
}

static inline void header_add(
    uint32_t map, const char *key, size_t key_size, const char *value, size_t value_size) {
  proxy_add_header_map_value(map, key, key_size, value, value_size);
}

static inline void header_add_number(uint32_t map, const char *key, size_t key_size, uint64_t number) {
  char digits[20];
  proxy_add_header_map_value(map, key, key_size, digits, text_of_number(number, digits));
}

static inline void log_text(uint32_t level, const char *data, size_t size) { proxy_log(level, data, size); }

// The plugin's configuration; valid in `proxy_on_configure` until the next `arena_reset`.
static inline bool configuration_get(size_t size, char **data, size_t *got) {
  *data = NULL;
  *got = 0;
  if (size == 0) return true;
  return proxy_get_buffer_bytes(BUFFER_PLUGIN_CONFIGURATION, 0, size, data, got) == STATUS_OK;
}

#endif
