// Counts the streams that its VM has begun and tells each its number in `x-number`: what a VM remembers, and what it
// shares. A request with `x-fault` ends the VM, or makes it `loop`; a body is held back to its end, so that its stream has state until then.
#include "proxy_wasm.h"

static uint32_t begun;

PW_EXPORT(proxy_on_request_headers)
uint32_t proxy_on_request_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)context, (void)count, (void)end;
  arena_reset();
  begun++;
  char *value;
  size_t size;
  if (header_get(MAP_REQUEST, T("x-fault"), &value, &size)) {
    if (size == 4)
      for (volatile uint32_t round = 0;;) round = round + 1;
    __builtin_trap();
  }
  return CONTINUE;
}

PW_EXPORT(proxy_on_request_body) uint32_t proxy_on_request_body(uint32_t context, size_t size, uint32_t end) {
  (void)context, (void)size;
  return end ? CONTINUE : PAUSE;
}

PW_EXPORT(proxy_on_response_headers)
uint32_t proxy_on_response_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)context, (void)count, (void)end;
  arena_reset();
  header_add_number(MAP_RESPONSE, T("x-number"), begun);
  return CONTINUE;
}
