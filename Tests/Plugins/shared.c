// Counts requests where workers share: `x-shared` is a number of shared data that each request adds one to, `x-counter`
// the value of the metric "hits", `x-messages` how many messages of the queue "jobs" this worker has taken, each of which
// a request has put there. With the header `x-crash` it traps after it has put one there.
#include "proxy_wasm.h"

static uint32_t hits, sizes, queue, taken;

PW_EXPORT(proxy_on_configure) uint32_t proxy_on_configure(uint32_t root, uint32_t size) {
  (void)root, (void)size;
  return proxy_define_metric(0, T("hits"), &hits) == STATUS_OK && proxy_define_metric(2, T("sizes"), &sizes) == STATUS_OK &&
         proxy_register_shared_queue(T("jobs"), &queue) == STATUS_OK;
}

PW_EXPORT(proxy_on_request_headers)
uint32_t proxy_on_request_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)context, (void)end;
  arena_reset();
  proxy_increment_metric(hits, 1);
  proxy_record_metric(sizes, count);
  if (proxy_enqueue_shared_queue(queue, T("job")) != STATUS_OK) __builtin_trap();
  char *value;
  size_t size;
  if (header_get(MAP_REQUEST, T("x-crash"), &value, &size)) __builtin_trap();
  for (;;) {
    uint32_t cas = 0;
    uint64_t number = 0;
    if (proxy_get_shared_data(T("requests"), &value, &size, &cas) == STATUS_OK) number = text_number(value, size);
    char digits[20];
    size_t length = text_of_number(number + 1, digits);
    uint32_t status = proxy_set_shared_data(T("requests"), digits, length, cas);
    if (status == STATUS_OK) break;
    if (status != STATUS_CAS_MISMATCH) __builtin_trap();
  }
  return CONTINUE;
}

PW_EXPORT(proxy_on_queue_ready) void proxy_on_queue_ready(uint32_t root, uint32_t token) {
  (void)root;
  arena_reset();
  char *value;
  size_t size;
  if (proxy_dequeue_shared_queue(token, &value, &size) == STATUS_OK && text_equal(value, size, "job")) taken++;
}

PW_EXPORT(proxy_on_response_headers)
uint32_t proxy_on_response_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)context, (void)count, (void)end;
  arena_reset();
  char *value;
  size_t size;
  uint32_t cas;
  uint64_t number;
  if (proxy_get_shared_data(T("requests"), &value, &size, &cas) == STATUS_OK) {
    header_add(MAP_RESPONSE, T("x-shared"), value, size);
  }
  if (proxy_get_metric(hits, &number) == STATUS_OK) header_add_number(MAP_RESPONSE, T("x-counter"), number);
  header_add_number(MAP_RESPONSE, T("x-messages"), taken);
  return CONTINUE;
}
