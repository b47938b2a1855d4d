// Exports no way to allocate memory in it: what the host would have to hand over it cannot. Shows the status of such a
// hostcall in `x-no-allocator`.
#define PW_OWN_ALLOCATOR
#include "proxy_wasm.h"

PW_EXPORT(proxy_on_response_headers)
uint32_t proxy_on_response_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)context, (void)count, (void)end;
  char *value = NULL;
  size_t size = 0;
  uint32_t status = proxy_get_header_map_value(MAP_RESPONSE, T(":status"), &value, &size);
  header_add_number(MAP_RESPONSE, T("x-no-allocator"), status);
  return CONTINUE;
}
