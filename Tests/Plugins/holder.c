// A guard that wants whole requests: who has no `x-pass` is answered with 403, and a request's body is held back to its
// end.
#include "proxy_wasm.h"

PW_EXPORT(proxy_on_request_headers)
uint32_t proxy_on_request_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)context, (void)count, (void)end;
  arena_reset();
  char *value;
  size_t size;
  if (header_get(MAP_REQUEST, T("x-pass"), &value, &size)) return CONTINUE;
  proxy_send_local_response(403, T("holder"), T("no\n"), NULL, 0, (uint32_t)-1);
  return PAUSE;
}

PW_EXPORT(proxy_on_request_body) uint32_t proxy_on_request_body(uint32_t context, size_t size, uint32_t end) {
  (void)context, (void)size;
  return end ? CONTINUE : PAUSE;
}
