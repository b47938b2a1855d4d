// What a plugin reaches. `x-call: UPSTREAM` calls it, with a header that says that somebody else calls, and answers with
// the body of what comes back; where the call is refused, or `x-grpc: UPSTREAM` is, the answer is 409 with the status in
// `x-status`. `x-sign` signs a text and verifies the signature: the answer is 200 where both were done, else 500.
// `x-forge` says in the request itself, and in its response, that a plugin calls. A request that says so when it comes
// here gets `x-saw-plugin`.
#include "proxy_wasm.h"

enum { BUFFER_CALL_BODY = 4 };

// {":method": "GET", ":path": "/called", ":authority": "callee", "x-bulkhead-plugin": "forged"}
static const char call_headers[] =
    "\4\0\0\0"
    "\7\0\0\0\3\0\0\0"
    "\5\0\0\0\7\0\0\0"
    "\12\0\0\0\6\0\0\0"
    "\21\0\0\0\6\0\0\0"
    ":method\0GET\0"
    ":path\0/called\0"
    ":authority\0callee\0"
    "x-bulkhead-plugin\0forged";

// An EC key of the curve P-256, made for tests alone: PKCS #8, and what verifies its signatures.
static const unsigned char private_key[] = {
    0x30, 0x81, 0x87, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02,
    0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x6d, 0x30, 0x6b, 0x02,
    0x01, 0x01, 0x04, 0x20, 0x95, 0x84, 0x23, 0xcf, 0x39, 0x54, 0xc0, 0x77, 0x17, 0xf7, 0xd8, 0x59,
    0xfb, 0xc3, 0x24, 0x9d, 0xc0, 0x40, 0xb7, 0x53, 0xa3, 0x3a, 0x8c, 0x0e, 0x25, 0x95, 0x7e, 0xba,
    0x83, 0x9d, 0x4e, 0x13, 0xa1, 0x44, 0x03, 0x42, 0x00, 0x04, 0x35, 0x2b, 0x3e, 0xd3, 0xb6, 0xba,
    0xf6, 0x45, 0x61, 0xeb, 0x5d, 0xd3, 0x9f, 0x61, 0xd0, 0x92, 0x82, 0x01, 0xa8, 0xcb, 0x81, 0xca,
    0x05, 0x0b, 0x9f, 0x86, 0x50, 0xc0, 0xb7, 0x33, 0xef, 0xf5, 0xad, 0x3a, 0xf4, 0x2a, 0x37, 0x75,
    0x5c, 0xc8, 0x72, 0xe4, 0xeb, 0x38, 0xb8, 0xff, 0xb2, 0x10, 0x71, 0xfb, 0x2b, 0x07, 0x07, 0xea,
    0x59, 0xcb, 0x28, 0x03, 0x69, 0x3d, 0xd8, 0x38, 0x44, 0x01,
};
static const unsigned char public_key[] = {
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04, 0x35, 0x2b, 0x3e, 0xd3, 0xb6,
    0xba, 0xf6, 0x45, 0x61, 0xeb, 0x5d, 0xd3, 0x9f, 0x61, 0xd0, 0x92, 0x82, 0x01, 0xa8, 0xcb, 0x81,
    0xca, 0x05, 0x0b, 0x9f, 0x86, 0x50, 0xc0, 0xb7, 0x33, 0xef, 0xf5, 0xad, 0x3a, 0xf4, 0x2a, 0x37,
    0x75, 0x5c, 0xc8, 0x72, 0xe4, 0xeb, 0x38, 0xb8, 0xff, 0xb2, 0x10, 0x71, 0xfb, 0x2b, 0x07, 0x07,
    0xea, 0x59, 0xcb, 0x28, 0x03, 0x69, 0x3d, 0xd8, 0x38, 0x44, 0x01,
};

static uint32_t calling;

static void field(struct text *message, char number, const void *data, size_t size) {
  char head[3] = {(char)(number << 3 | 2), (char)size, 0};
  if (size > 127) head[1] = (char)((size & 127) | 128), head[2] = (char)(size >> 7);
  text_add(message, head, size > 127 ? 3 : 2);
  text_add(message, data, size);
}

static bool sign_and_verify(void) {
  static struct text message;
  char *result;
  size_t size;
  message.size = 0;
  field(&message, 1, T("sha256"));
  field(&message, 2, private_key, sizeof private_key);
  field(&message, 3, T("hello"));
  if (proxy_call_foreign_function(T("sign"), message.data, message.size, &result, &size) != STATUS_OK) return false;
  // True, then the signature with its length in one byte.
  if (size < 5 || result[0] != 8 || result[1] != 1 || result[2] != 18 || (size_t)result[3] != size - 4) return false;
  message.size = 0;
  field(&message, 1, T("sha256"));
  field(&message, 2, public_key, sizeof public_key);
  field(&message, 3, result + 4, size - 4);
  field(&message, 4, T("hello"));
  if (proxy_call_foreign_function(T("verify_signature"), message.data, message.size, &result, &size) != STATUS_OK) {
    return false;
  }
  return size == 2 && result[0] == 8 && result[1] == 1;
}

static uint32_t answer(uint32_t status, const char *body, size_t size) {
  proxy_send_local_response(status, T("reach"), body, size, NULL, 0, (uint32_t)-1);
  return PAUSE;
}

static uint32_t refused(uint32_t status) {
  // {"x-status": "NN"}
  static char headers[] =
      "\1\0\0\0"
      "\10\0\0\0\2\0\0\0"
      "x-status\0" "00";
  headers[sizeof headers - 3] = (char)('0' + status / 10);
  headers[sizeof headers - 2] = (char)('0' + status % 10);
  proxy_send_local_response(409, T("reach"), NULL, 0, headers, sizeof headers, (uint32_t)-1);
  return PAUSE;
}

PW_EXPORT(proxy_on_request_headers)
uint32_t proxy_on_request_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)count, (void)end;
  arena_reset();
  char *value;
  size_t size;
  uint32_t call;
  if (header_get(MAP_REQUEST, T("x-bulkhead-plugin"), &value, &size)) {
    header_add(MAP_REQUEST, T("x-saw-plugin"), value, size);
  }
  if (header_get(MAP_REQUEST, T("x-forge"), &value, &size)) {
    header_add(MAP_REQUEST, T("x-bulkhead-plugin"), T("forged"));
    proxy_replace_header_map_value(MAP_REQUEST, T("X-Bulkhead-Plugin"), T("forged"));
  }
  if (header_get(MAP_REQUEST, T("x-sign"), &value, &size)) return answer(sign_and_verify() ? 200 : 500, T("signed"));
  if (header_get(MAP_REQUEST, T("x-grpc"), &value, &size)) {
    uint32_t status = proxy_grpc_call(value, size, T("test.Peer"), T("Unary"), NULL, 0, T("hi"), 1000, &call);
    return status == STATUS_OK ? answer(200, T("called")) : refused(status);
  }
  if (!header_get(MAP_REQUEST, T("x-call"), &value, &size)) return CONTINUE;
  uint32_t status =
      proxy_http_call(value, size, call_headers, sizeof call_headers, NULL, 0, NULL, 0, 5000, &call);
  if (status != STATUS_OK) return refused(status);
  calling = context;
  return PAUSE;
}

PW_EXPORT(proxy_on_http_call_response)
void proxy_on_http_call_response(uint32_t root, uint32_t call, uint32_t headers, uint32_t body, uint32_t trailers) {
  (void)root, (void)call, (void)headers, (void)trailers;
  arena_reset();
  char *data = NULL;
  size_t size = 0;
  if (body > 0) proxy_get_buffer_bytes(BUFFER_CALL_BODY, 0, body, &data, &size);
  proxy_set_effective_context(calling);
  answer(200, data, size);
}

PW_EXPORT(proxy_on_response_headers)
uint32_t proxy_on_response_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)context, (void)count, (void)end;
  arena_reset();
  char *value;
  size_t size;
  if (header_get(MAP_REQUEST, T("x-forge"), &value, &size)) {
    header_add(MAP_RESPONSE, T("x-bulkhead-plugin"), T("forged"));
  }
  return CONTINUE;
}
