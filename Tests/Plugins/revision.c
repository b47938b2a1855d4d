// Says which configuration it has: "x-revision" on the request and on the response. It refuses one that contains "refuse".
#include "proxy_wasm.h"

static struct text revision;

PW_EXPORT(proxy_on_configure) uint32_t proxy_on_configure(uint32_t root, uint32_t size) {
  (void)root;
  arena_reset();
  char *data;
  size_t got = 0;
  if (!configuration_get(size, &data, &got)) return 0;
  for (size_t i = 0; i + 4 <= got; i++) {
    if (data[i] == 'r' && data[i + 1] == 'e' && data[i + 2] == 'f' && data[i + 3] == 'u') return 0;
  }
  for (size_t i = 0; i < got; i++) {
    if (data[i] >= '0' && data[i] <= '9') text_add(&revision, data + i, 1);
  }
  return 1;
}

PW_EXPORT(proxy_on_request_headers) uint32_t proxy_on_request_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)context, (void)count, (void)end;
  arena_reset();
  header_add(MAP_REQUEST, T("x-revision"), revision.data, revision.size);
  return CONTINUE;
}

PW_EXPORT(proxy_on_response_headers)
uint32_t proxy_on_response_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)context, (void)count, (void)end;
  arena_reset();
  header_add(MAP_RESPONSE, T("x-revision"), revision.data, revision.size);
  return CONTINUE;
}
