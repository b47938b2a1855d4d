// Answers with a local response as large as the request header `x-big` says (bytes of body), and `x-big-headers`
// headers of 100 bytes each. Reports nothing: what arrives is the report.
#include "proxy_wasm.h"

static void put(char *to, uint32_t value) { memcpy(to, &value, sizeof value); }

PW_EXPORT(proxy_on_request_headers)
uint32_t proxy_on_request_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)context, (void)count, (void)end;
  arena_reset();
  char *value;
  size_t size;
  if (!header_get(MAP_REQUEST, T("x-big"), &value, &size)) return CONTINUE;
  size_t body_size = (size_t)text_number(value, size);
  uint32_t headers = 0;
  if (header_get(MAP_REQUEST, T("x-big-headers"), &value, &size)) headers = (uint32_t)text_number(value, size) % 100000;

  enum { NAME = 12, VALUE = 88 };
  size_t headers_size = 4 + headers * (8 + NAME + VALUE + 2);
  char *pairs = arena_allocate(headers_size);
  char *body = arena_allocate(body_size);
  if (pairs == NULL || body == NULL) __builtin_trap();
  memset(body, 'b', body_size);
  put(pairs, headers);
  char *at = pairs + 4 + headers * 8;
  for (uint32_t i = 0; i < headers; i++) {
    put(pairs + 4 + i * 8, NAME);
    put(pairs + 8 + i * 8, VALUE);
    memcpy(at, "x-big-", 6);
    for (uint32_t digit = 0, rest = i; digit < 6; digit++, rest /= 10) at[11 - digit] = (char)('0' + rest % 10);
    at[NAME] = 0;
    memset(at + NAME + 1, 'h', VALUE);
    at[NAME + VALUE + 1] = 0;
    at += NAME + VALUE + 2;
  }
  proxy_send_local_response(200, T("big"), body, body_size, pairs, headers_size, (uint32_t)-1);
  return PAUSE;
}
