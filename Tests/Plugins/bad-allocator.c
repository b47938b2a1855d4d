// Its allocator answers with addresses that lie outside its memory: the host must not write there. Shows the status of
// such a hostcall in `x-bad-allocator`.
#define PW_OWN_ALLOCATOR
#include "proxy_wasm.h"

PW_EXPORT(proxy_on_memory_allocate) void *proxy_on_memory_allocate(size_t size) {
  (void)size;
  return (void *)0xfffffff0u;
}

PW_EXPORT(proxy_on_response_headers)
uint32_t proxy_on_response_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)context, (void)count, (void)end;
  char *value = NULL;
  size_t size = 0;
  uint32_t status = proxy_get_header_map_pairs(MAP_RESPONSE, &value, &size);
  header_add_number(MAP_RESPONSE, T("x-bad-allocator"), status);
  return CONTINUE;
}
