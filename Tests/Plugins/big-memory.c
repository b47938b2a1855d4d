// link: -Wl,--initial-memory=134217728
// Wants 128 MiB before it has started: over the default limit, so it must fail to start and say so.
#include "proxy_wasm.h"

PW_EXPORT(proxy_on_request_headers)
uint32_t proxy_on_request_headers(uint32_t context, uint32_t count, uint32_t end) {
  return (void)context, (void)count, (void)end, CONTINUE;
}
