// Writes down in which order the host calls it, and shows that in `x-lifecycle` on every response.
#include "proxy_wasm.h"

static struct text order;

static void note(const char *name, size_t size) {
  if (order.size != 0) text_add(&order, T(" "));
  text_add(&order, name, size);
}

static void note_ids(const char *name, size_t size, uint32_t first, uint32_t second) {
  note(name, size);
  text_add(&order, T("("));
  text_add_number(&order, first);
  text_add(&order, T(","));
  text_add_number(&order, second);
  text_add(&order, T(")"));
}

PW_EXPORT(_initialize) void _initialize(void) { note(T("initialize")); }
PW_EXPORT(main) int plugin_main(int count, char **arguments) {
  note_ids(T("main"), (uint32_t)count, (uint32_t)arguments);
  return 0;
}
PW_EXPORT(_start) void _start(void) { note(T("start")); }
PW_EXPORT(proxy_on_context_create) void proxy_on_context_create(uint32_t context, uint32_t parent) {
  note_ids(T("create"), context, parent);
}
PW_EXPORT(proxy_on_vm_start) uint32_t proxy_on_vm_start(uint32_t root, uint32_t size) {
  note_ids(T("vm_start"), root, size);
  return 1;
}
PW_EXPORT(proxy_on_configure) uint32_t proxy_on_configure(uint32_t root, uint32_t size) {
  note_ids(T("configure"), root, size != 0);
  return 1;
}
PW_EXPORT(proxy_on_request_headers)
uint32_t proxy_on_request_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)count;
  note_ids(T("request"), context, end);
  return CONTINUE;
}
PW_EXPORT(proxy_on_response_headers)
uint32_t proxy_on_response_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)count;
  note_ids(T("response"), context, end);
  header_add(MAP_RESPONSE, T("x-lifecycle"), order.data, order.size);
  return CONTINUE;
}
PW_EXPORT(proxy_on_done) uint32_t proxy_on_done(uint32_t context) {
  note_ids(T("done"), context, 0);
  return 1;
}
PW_EXPORT(proxy_on_log) void proxy_on_log(uint32_t context) { note_ids(T("log"), context, 0); }
PW_EXPORT(proxy_on_delete) void proxy_on_delete(uint32_t context) { note_ids(T("delete"), context, 0); }
