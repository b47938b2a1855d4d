// Marks itself as written for ABI 0.2.0; otherwise as small as a plugin can be.
#define PW_OWN_ABI_VERSION
#include "proxy_wasm.h"

PW_EXPORT(proxy_abi_version_0_2_0) void proxy_abi_version_0_2_0(void) {}

PW_EXPORT(proxy_on_response_headers)
uint32_t proxy_on_response_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)context, (void)count, (void)end;
  header_add(MAP_RESPONSE, T("x-abi"), T("0.2.0"));
  return CONTINUE;
}
