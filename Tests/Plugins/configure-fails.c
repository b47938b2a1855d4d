// proxy_on_configure says no.
#include "proxy_wasm.h"

PW_EXPORT(proxy_on_configure) uint32_t proxy_on_configure(uint32_t root, uint32_t size) {
  (void)root, (void)size;
  log_text(LOG_ERROR, T("this plugin refuses every configuration"));
  return 0;
}

PW_EXPORT(proxy_on_request_headers)
uint32_t proxy_on_request_headers(uint32_t context, uint32_t count, uint32_t end) {
  return (void)context, (void)count, (void)end, CONTINUE;
}
