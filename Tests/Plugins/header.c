// The plugin of the benchmark: reads one request header, adds one to the request and one to the response.
#include "proxy_wasm.h"

PW_EXPORT(proxy_on_request_headers) uint32_t proxy_on_request_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)context, (void)count, (void)end;
  arena_reset();
  char *value;
  size_t size;
  if (header_get(MAP_REQUEST, T("user-agent"), &value, &size)) {
    header_add(MAP_REQUEST, T("x-bench-request"), value, size);
  } else {
    header_add(MAP_REQUEST, T("x-bench-request"), T("none"));
  }
  return CONTINUE;
}

PW_EXPORT(proxy_on_response_headers)
uint32_t proxy_on_response_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)context, (void)count, (void)end;
  arena_reset();
  header_add(MAP_RESPONSE, T("x-bench-response"), T("bulkhead"));
  return CONTINUE;
}
