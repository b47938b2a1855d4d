// Exports `malloc` alone for the host's allocations, as plugins of some SDKs do. Shows the user agent in `x-malloc`.
#define PW_OWN_ALLOCATOR
#include "proxy_wasm.h"

static char memory[32768];
static size_t next;

PW_EXPORT(malloc) void *plugin_malloc(size_t size) {
  if (size > sizeof memory - next) return NULL;
  void *start = memory + next;
  next += (size + 15) & ~(size_t)15;
  return start;
}

PW_EXPORT(proxy_on_request_headers)
uint32_t proxy_on_request_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)context, (void)count, (void)end;
  next = 0;
  char *value;
  size_t size;
  if (header_get(MAP_REQUEST, T("user-agent"), &value, &size)) header_add(MAP_REQUEST, T("x-malloc"), value, size);
  return CONTINUE;
}
