// Calls hostcalls that the host knows by name alone and reports each status in the response header `x-unimplemented`.
#include "proxy_wasm.h"

PW_IMPORT(proxy_redis_init)
uint32_t proxy_redis_init(const char *, size_t, const char *, size_t, const char *, size_t, uint32_t);
PW_IMPORT(proxy_redis_call)
uint32_t proxy_redis_call(const char *, size_t, const char *, size_t, uint32_t *);
PW_IMPORT(proxy_inject_encoded_data_to_filter_chain)
uint32_t proxy_inject_encoded_data_to_filter_chain(const char *, size_t, uint32_t);

static void report(struct text *text, const char *name, size_t size, uint32_t status) {
  if (text->size != 0) text_add(text, T("; "));
  text_add(text, name, size);
  text_add(text, T("="));
  text_add_number(text, status);
}

PW_EXPORT(proxy_on_response_headers)
uint32_t proxy_on_response_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)context, (void)count, (void)end;
  arena_reset();
  static struct text text;
  text.size = 0;
  uint32_t token = 0;
  report(&text, T("redis_init"), proxy_redis_init(T("app"), T(""), T(""), 1000));
  report(&text, T("redis_call"), proxy_redis_call(T("app"), T("PING"), &token));
  report(&text, T("inject"), proxy_inject_encoded_data_to_filter_chain(T("data"), 0));
  header_add(MAP_RESPONSE, T("x-unimplemented"), text.data, text.size);
  return CONTINUE;
}
