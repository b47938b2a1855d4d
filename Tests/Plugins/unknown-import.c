// Imports a function that no host has: a load error that must name it.
#include "proxy_wasm.h"

PW_IMPORT(proxy_does_not_exist) uint32_t proxy_does_not_exist(uint32_t value);

PW_EXPORT(proxy_on_request_headers)
uint32_t proxy_on_request_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)count, (void)end;
  return proxy_does_not_exist(context);
}
