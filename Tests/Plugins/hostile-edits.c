// Makes edits that no honest plugin makes, as the request header `x-hostile` (in the request callback) or
// `x-hostile-response` (in the response callback) names them; without either: crlf and name in both. What gets through
// would be a header `x-injected`. The status of the last hostcall is reported in the response header
// `x-hostile-status`, as far as that survives.
//
//   many     5000 headers                 huge      a value of 1 MiB
//   crlf     a line break in a value      name      a line break and a blank in a name
//   empty    an empty name                nul       a NUL in a value
//   pairs    a map whose counts lie       truncated a map that is cut off
//   clear    an empty map                 pseudo    pseudo-headers with nonsense in them
//   method   another, odd method          framing   content-length and transfer-encoding that lie
//   hop      connection and upgrade       local     a local response with status 99999 and broken headers
//   local-crlf  a local response with a line break in a header
#include "proxy_wasm.h"

static uint32_t last_status;
static uint32_t pending_context;
static struct text pending;
static bool by_default;

static void add(uint32_t map, const char *key, size_t key_size, const char *value, size_t value_size) {
  last_status = proxy_add_header_map_value(map, key, key_size, value, value_size);
}

static void replace(uint32_t map, const char *key, size_t key_size, const char *value, size_t value_size) {
  last_status = proxy_replace_header_map_value(map, key, key_size, value, value_size);
}

static void edit(uint32_t map, const char *how, size_t size) {
  if (text_equal(how, size, "many")) {
    for (uint32_t i = 0; i < 5000; i++) {
      struct text key;
      key.size = 0;
      text_add(&key, T("x-many-"));
      text_add_number(&key, i);
      add(map, key.data, key.size, T("value"));
    }
  } else if (text_equal(how, size, "huge")) {
    char *value = arena_allocate(1 << 20);
    if (value == NULL) return;
    memset(value, 'v', 1 << 20);
    add(map, T("x-huge"), value, 1 << 20);
  } else if (text_equal(how, size, "crlf")) {
    add(map, T("x-crlf"), T("one\r\nx-injected: yes\r\n\r\nGET /injected HTTP/1.1\r\n\r\n"));
  } else if (text_equal(how, size, "name")) {
    add(map, T("x bad\r\nx-injected"), T("yes"));
  } else if (text_equal(how, size, "empty")) {
    add(map, T(""), T("value"));
  } else if (text_equal(how, size, "nul")) {
    add(map, T("x-nul"), T("a\0b"));
  } else if (text_equal(how, size, "pairs")) {
    last_status = proxy_set_header_map_pairs(map, T("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" "a\0b"));
  } else if (text_equal(how, size, "truncated")) {
    last_status = proxy_set_header_map_pairs(map, T("\2\0\0\0\1\0\0\0\1\0\0\0"));
  } else if (text_equal(how, size, "clear")) {
    last_status = proxy_set_header_map_pairs(map, NULL, 0);
  } else if (text_equal(how, size, "pseudo")) {
    replace(map, T(":path"), T("no slash\r\nx-injected: yes"));
    replace(map, T(":authority"), T("bad host\r\nx-injected: yes"));
    replace(map, T(":status"), T("99999"));
    replace(map, T(":unknown"), T("what"));
    last_status = proxy_remove_header_map_value(map, T(":method"));
  } else if (text_equal(how, size, "method")) {
    replace(map, T(":method"), T("BREW COFFEE"));
  } else if (text_equal(how, size, "framing")) {
    replace(map, T("content-length"), T("1"));
    replace(map, T("transfer-encoding"), T("chunked"));
    add(map, T("content-length"), T("2"));
  } else if (text_equal(how, size, "hop")) {
    replace(map, T("connection"), T("upgrade, x-important"));
    replace(map, T("upgrade"), T("websocket"));
    add(map, T("x-important"), T("yes"));
  } else if (text_equal(how, size, "local")) {
    last_status = proxy_send_local_response(
        99999, T("details"), T("body"), T("\xff\xff\xff\x7f" "aaaaaaaaaaaa"), (uint32_t)-1);
  } else if (text_equal(how, size, "local-crlf")) {
    last_status = proxy_send_local_response(
        200, T("details\r\nx: y"), T("body"), T("\1\0\0\0\1\0\0\0\5\0\0\0" "a\0b\r\nc:\0"), (uint32_t)-1);
  }
}

static void edit_by_default(uint32_t map) {
  edit(map, T("crlf"));
  edit(map, T("name"));
}

PW_EXPORT(proxy_on_request_headers)
uint32_t proxy_on_request_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)count, (void)end;
  arena_reset();
  char *how;
  size_t size;
  last_status = 0;
  pending.size = 0;
  pending_context = context;
  bool said = false;
  if (header_get(MAP_REQUEST, T("x-hostile-response"), &how, &size)) {
    said = true;
    text_add(&pending, how, size);
  }
  if (header_get(MAP_REQUEST, T("x-hostile"), &how, &size)) {
    said = true;
    edit(MAP_REQUEST, how, size);
  }
  by_default = !said;
  if (by_default) edit_by_default(MAP_REQUEST);
  return CONTINUE;
}

PW_EXPORT(proxy_on_response_headers)
uint32_t proxy_on_response_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)count, (void)end;
  arena_reset();
  if (pending_context == context) edit(MAP_RESPONSE, pending.data, pending.size);
  if (by_default) edit_by_default(MAP_RESPONSE);
  header_add_number(MAP_RESPONSE, T("x-hostile-status"), last_status);
  return CONTINUE;
}
