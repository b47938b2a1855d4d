// Has no ABI marker at all: to be refused.
#define PW_OWN_ABI_VERSION
#include "proxy_wasm.h"

PW_EXPORT(proxy_on_request_headers)
uint32_t proxy_on_request_headers(uint32_t context, uint32_t count, uint32_t end) {
  return (void)context, (void)count, (void)end, CONTINUE;
}
