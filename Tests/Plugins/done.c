// Says "not yet" in proxy_on_done and finishes each stream from its tick (10 ms) with proxy_done. Responses show what
// has become of the streams before: x-done-pending, x-done-finished (proxy_done said OK), x-done-refused, x-done-logged
// and x-done-deleted.
#include "proxy_wasm.h"

enum { STREAMS = 1024 };
static uint32_t waiting[STREAMS];
static uint32_t pending, finished, refused, logged, deleted;

PW_EXPORT(proxy_on_configure) uint32_t proxy_on_configure(uint32_t root, uint32_t size) {
  (void)root, (void)size;
  return proxy_set_tick_period_milliseconds(10) == STATUS_OK;
}

PW_EXPORT(proxy_on_response_headers)
uint32_t proxy_on_response_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)context, (void)count, (void)end;
  arena_reset();
  // Nothing is pending for this stream yet: NOT_FOUND.
  header_add_number(MAP_RESPONSE, T("x-done-early-status"), proxy_done());
  header_add_number(MAP_RESPONSE, T("x-done-pending"), pending);
  header_add_number(MAP_RESPONSE, T("x-done-finished"), finished);
  header_add_number(MAP_RESPONSE, T("x-done-refused"), refused);
  header_add_number(MAP_RESPONSE, T("x-done-logged"), logged);
  header_add_number(MAP_RESPONSE, T("x-done-deleted"), deleted);
  return CONTINUE;
}

PW_EXPORT(proxy_on_done) uint32_t proxy_on_done(uint32_t context) {
  if (waiting[context % STREAMS] != 0) return 1;
  waiting[context % STREAMS] = context;
  pending++;
  return 0;
}

PW_EXPORT(proxy_on_tick) void proxy_on_tick(uint32_t root) {
  (void)root;
  for (size_t i = 0; i < STREAMS; i++) {
    uint32_t context = waiting[i];
    if (context == 0) continue;
    waiting[i] = 0;
    pending--;
    bool done = proxy_set_effective_context(context) == STATUS_OK && proxy_done() == STATUS_OK;
    if (done) finished++;
    else refused++;
  }
}

PW_EXPORT(proxy_on_log) void proxy_on_log(uint32_t context) {
  (void)context;
  logged++;
}

PW_EXPORT(proxy_on_delete) void proxy_on_delete(uint32_t context) {
  (void)context;
  deleted++;
}
