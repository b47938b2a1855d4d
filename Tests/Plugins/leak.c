// Keeps memory with every request (1 MiB, or as many bytes as the request header `x-leak` says) and traps when the host
// lets it grow no more, as a real plugin's allocator would.
#include "proxy_wasm.h"

static uint64_t leaked;

PW_NOINLINE static void leak(size_t size) {
  char *memory = arena_allocate(size);
  if (memory == NULL) __builtin_trap();
  memset(memory, 'l', size);
  leaked += size;
}

PW_EXPORT(proxy_on_request_headers)
uint32_t proxy_on_request_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)context, (void)count, (void)end;
  char *value;
  size_t size;
  bool said = header_get(MAP_REQUEST, T("x-leak"), &value, &size);
  leak(said ? (size_t)text_number(value, size) : 1 << 20);
  return CONTINUE;
}

PW_EXPORT(proxy_on_response_headers)
uint32_t proxy_on_response_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)context, (void)count, (void)end;
  header_add_number(MAP_RESPONSE, T("x-leaked"), leaked);
  return CONTINUE;
}
