// Reads shared data as often as the request's header `x-gets` says: what a hostcall costs that has to ask the front.
#include "proxy_wasm.h"

PW_EXPORT(proxy_on_configure) uint32_t on_configure(uint32_t context, size_t size) {
  (void)context, (void)size;
  return proxy_set_shared_data(T("bench"), T("value"), 0) == STATUS_OK;
}

PW_EXPORT(proxy_on_request_headers) uint32_t on_request_headers(uint32_t context, size_t count, uint32_t end) {
  (void)context, (void)count, (void)end;
  arena_reset();
  char *text;
  size_t size;
  uint64_t gets = header_get(MAP_REQUEST, T("x-gets"), &text, &size) ? text_number(text, size) : 0;
  uint64_t found = 0;
  for (uint64_t i = 0; i < gets; i++) {
    char *value = NULL;
    size_t value_size = 0;
    uint32_t cas;
    found += proxy_get_shared_data(T("bench"), &value, &value_size, &cas) == STATUS_OK && value_size == 5;
  }
  header_add_number(MAP_REQUEST, T("x-found"), found);
  return CONTINUE;
}
