// Reads every piece of both bodies and passes it on: what a plugin that inspects bodies costs.
#include "proxy_wasm.h"

// Kept, so that reading is not optimised away.
static volatile uint32_t sum;

static uint32_t read_all(uint32_t buffer, size_t size) {
  arena_reset();
  char *data = NULL;
  size_t got = 0;
  if (size != 0 && proxy_get_buffer_bytes(buffer, 0, size, &data, &got) == STATUS_OK && got > 0) {
    sum += (uint8_t)data[0] + (uint8_t)data[got - 1];
  }
  return CONTINUE;
}

PW_EXPORT(proxy_on_request_body) uint32_t on_request_body(uint32_t context, size_t size, uint32_t end) {
  (void)context, (void)end;
  return read_all(BUFFER_REQUEST_BODY, size);
}
PW_EXPORT(proxy_on_response_body) uint32_t on_response_body(uint32_t context, size_t size, uint32_t end) {
  (void)context, (void)end;
  return read_all(BUFFER_RESPONSE_BODY, size);
}
