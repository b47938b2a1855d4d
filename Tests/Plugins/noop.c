// Exports every callback of an HTTP stream and does nothing in any of them.
#include "proxy_wasm.h"

PW_EXPORT(proxy_on_vm_start) uint32_t proxy_on_vm_start(uint32_t root, uint32_t size) {
  return (void)root, (void)size, 1;
}
PW_EXPORT(proxy_on_configure) uint32_t proxy_on_configure(uint32_t root, uint32_t size) {
  return (void)root, (void)size, 1;
}
PW_EXPORT(proxy_on_context_create) void proxy_on_context_create(uint32_t context, uint32_t parent) {
  (void)context, (void)parent;
}
PW_EXPORT(proxy_on_request_headers)
uint32_t proxy_on_request_headers(uint32_t context, uint32_t count, uint32_t end) {
  return (void)context, (void)count, (void)end, CONTINUE;
}
PW_EXPORT(proxy_on_response_headers)
uint32_t proxy_on_response_headers(uint32_t context, uint32_t count, uint32_t end) {
  return (void)context, (void)count, (void)end, CONTINUE;
}
PW_EXPORT(proxy_on_done) uint32_t proxy_on_done(uint32_t context) { return (void)context, 1; }
PW_EXPORT(proxy_on_log) void proxy_on_log(uint32_t context) { (void)context; }
PW_EXPORT(proxy_on_delete) void proxy_on_delete(uint32_t context) { (void)context; }
