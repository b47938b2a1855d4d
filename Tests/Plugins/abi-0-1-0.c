// Marks itself as written for ABI 0.1.0; whose header callbacks have no end_of_stream.
#define PW_OWN_ABI_VERSION
#include "proxy_wasm.h"

PW_EXPORT(proxy_abi_version_0_1_0) void proxy_abi_version_0_1_0(void) {}

PW_EXPORT(proxy_on_response_headers)
uint32_t proxy_on_response_headers(uint32_t context, uint32_t count) {
  (void)context, (void)count;
  header_add(MAP_RESPONSE, T("x-abi"), T("0.1.0"));
  return CONTINUE;
}
