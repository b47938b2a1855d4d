// Answers requests itself: 403, or what the request header `x-local` says; `x-local: pass` lets the request through,
// and `x-local-response: STATUS` answers from the response callback instead; `x-local-return: continue` makes the
// callback return CONTINUE instead of PAUSE; `x-local-grpc: N` sets the gRPC status; `x-local-twice` sends a second
// answer and reports its status. Every response that passes gets `x-local-seen`.
#include "proxy_wasm.h"

// {"x-local-header": "yes", "content-type": "text/plain"}
static const char headers[] =
    "\2\0\0\0"
    "\16\0\0\0\3\0\0\0"
    "\14\0\0\0\12\0\0\0"
    "x-local-header\0yes\0"
    "content-type\0text/plain";

static uint32_t second_status = 99;
static uint32_t pending_response, pending_context;

static uint32_t answer(uint32_t status) {
  char *value;
  size_t size;
  uint32_t grpc = (uint32_t)-1;
  if (header_get(MAP_REQUEST, T("x-local-grpc"), &value, &size)) grpc = (uint32_t)text_number(value, size);
  proxy_send_local_response(status, T("local-response"), T("local body\n"), headers, sizeof headers, grpc);
  if (header_get(MAP_REQUEST, T("x-local-twice"), &value, &size)) {
    second_status = proxy_send_local_response(500, T("second"), T("second\n"), NULL, 0, (uint32_t)-1);
  }
  bool go_on = header_get(MAP_REQUEST, T("x-local-return"), &value, &size) && text_equal(value, size, "continue");
  return go_on ? CONTINUE : PAUSE;
}

PW_EXPORT(proxy_on_request_headers)
uint32_t proxy_on_request_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)count, (void)end;
  arena_reset();
  char *value;
  size_t size;
  second_status = 99;
  pending_response = 0;
  if (header_get(MAP_REQUEST, T("x-local-response"), &value, &size)) {
    pending_response = (uint32_t)text_number(value, size);
    pending_context = context;
  }
  if (pending_response != 0) return CONTINUE;
  if (!header_get(MAP_REQUEST, T("x-local"), &value, &size)) return answer(403);
  if (text_equal(value, size, "pass")) return CONTINUE;
  return answer((uint32_t)text_number(value, size));
}

PW_EXPORT(proxy_on_response_headers)
uint32_t proxy_on_response_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)count, (void)end;
  arena_reset();
  header_add(MAP_RESPONSE, T("x-local-seen"), T("yes"));
  if (second_status != 99) header_add_number(MAP_RESPONSE, T("x-local-second-status"), second_status);
  if (pending_response == 0 || pending_context != context) return CONTINUE;
  uint32_t status = pending_response;
  pending_response = 0;
  return answer(status);
}
