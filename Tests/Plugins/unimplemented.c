// Calls hostcalls that a host may not offer and reports each status in the response header `x-unimplemented`.
#include "proxy_wasm.h"

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
  uint32_t token = 0, cas = 0;
  uint64_t metric = 0;
  char *data = NULL;
  size_t size = 0;
  report(&text, T("http_call"), proxy_http_call(T("app"), NULL, 0, NULL, 0, NULL, 0, 1000, &token));
  report(&text, T("grpc_call"), proxy_grpc_call(T("app"), T("s"), T("m"), NULL, 0, NULL, 0, 1000, &token));
  report(&text, T("grpc_stream"), proxy_grpc_stream(T("app"), T("s"), T("m"), NULL, 0, &token));
  report(&text, T("grpc_send"), proxy_grpc_send(1, NULL, 0, 1));
  report(&text, T("grpc_cancel"), proxy_grpc_cancel(1));
  report(&text, T("grpc_close"), proxy_grpc_close(1));
  report(&text, T("set_shared_data"), proxy_set_shared_data(T("key"), T("value"), 0));
  report(&text, T("get_shared_data"), proxy_get_shared_data(T("key"), &data, &size, &cas));
  report(&text, T("register_shared_queue"), proxy_register_shared_queue(T("queue"), &token));
  report(&text, T("resolve_shared_queue"), proxy_resolve_shared_queue(T(""), T("queue"), &token));
  report(&text, T("enqueue_shared_queue"), proxy_enqueue_shared_queue(1, T("value")));
  report(&text, T("dequeue_shared_queue"), proxy_dequeue_shared_queue(1, &data, &size));
  report(&text, T("define_metric"), proxy_define_metric(0, T("requests"), &token));
  report(&text, T("record_metric"), proxy_record_metric(1, 1));
  report(&text, T("increment_metric"), proxy_increment_metric(1, 1));
  report(&text, T("get_metric"), proxy_get_metric(1, &metric));
  report(&text, T("call_foreign_function"), proxy_call_foreign_function(T("f"), NULL, 0, &data, &size));
  header_add(MAP_RESPONSE, T("x-unimplemented"), text.data, text.size);
  return CONTINUE;
}

PW_EXPORT(proxy_on_http_call_response)
void proxy_on_http_call_response(uint32_t context, uint32_t call, uint32_t headers, uint32_t body, uint32_t trailers) {
  (void)context, (void)call, (void)headers, (void)body, (void)trailers;
}
