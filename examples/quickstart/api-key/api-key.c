// Lets a request pass only with a known API key. Configuration (`pluginConfig` of the manifest):
//
//   {"header": "x-api-key", "keys": ["demo", "another"]}
//
// `header` defaults to "x-api-key"; without `keys` the configuration is refused. A request without a known key is
// answered with 401 and a JSON body; one with a known key passes, with the key taken out so that no upstream sees it.
//
// For the demonstration only: a request with the header `x-demo-crash: api-key` makes the plugin trap, as a bug would.
//
// This is plain C against Proxy-Wasm 0.2.1, without an SDK and without a C library: what stands here is all there is.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HOST(name) __attribute__((import_module("env"), import_name(#name))) extern
#define EXPORT(name) __attribute__((export_name(#name)))

HOST(proxy_log) uint32_t proxy_log(uint32_t level, const char *message, size_t size);
HOST(proxy_get_buffer_bytes)
uint32_t proxy_get_buffer_bytes(uint32_t buffer, size_t start, size_t max, char **data, size_t *size);
HOST(proxy_get_header_map_value)
uint32_t proxy_get_header_map_value(uint32_t map, const char *key, size_t key_size, char **value, size_t *size);
HOST(proxy_remove_header_map_value)
uint32_t proxy_remove_header_map_value(uint32_t map, const char *key, size_t key_size);
HOST(proxy_send_local_response)
uint32_t proxy_send_local_response(
    uint32_t status, const char *details, size_t details_size, const char *body, size_t body_size, const char *headers,
    size_t headers_size, uint32_t grpc_status);

enum { OK = 0 };
enum { CONTINUE = 0, PAUSE = 1 };
enum { REQUEST_HEADERS = 0 };
enum { PLUGIN_CONFIGURATION = 7 };
enum { INFO = 2, ERROR = 4 };
enum { NO_GRPC_STATUS = 0xffffffff };

#define TEXT(literal) (literal), (sizeof(literal) - 1)

EXPORT(proxy_abi_version_0_2_1) void proxy_abi_version_0_2_1(void) {}

// Memory for what the host hands over: header values, the configuration. It is good until the callback returns, so each
// callback starts over with an empty one.

static _Alignas(16) char memory[64 << 10];
static size_t used;

EXPORT(proxy_on_memory_allocate) void *proxy_on_memory_allocate(size_t size) {
  size_t rounded = (size + 15) & ~(size_t)15;
  if (rounded < size || rounded > sizeof memory - used) return NULL;
  void *start = memory + used;
  used += rounded;
  return start;
}

// What is configured. Keys lie one behind the other in `keys`.

enum { NAME_SIZE = 128, KEYS_SIZE = 8 << 10, KEYS = 256 };

static char header[NAME_SIZE];
static size_t header_size;
static char keys[KEYS_SIZE];
static struct {
  size_t start, size;
} key_at[KEYS];
static size_t key_count, keys_used;

// A scanner for the JSON of the configuration: an object of strings and arrays of strings. What it does not know it
// refuses; what it reads never goes beyond `end`.

struct scanner {
  const char *at, *end;
};

static void skip_blanks(struct scanner *json) {
  while (json->at < json->end && (*json->at == ' ' || *json->at == '\t' || *json->at == '\n' || *json->at == '\r')) {
    json->at++;
  }
}

static bool take(struct scanner *json, char expected) {
  skip_blanks(json);
  if (json->at == json->end || *json->at != expected) return false;
  json->at++;
  return true;
}

// Copies a string to `to`, with the simple escapes resolved; \u is refused: keys and names are ASCII.
static bool take_string(struct scanner *json, char *to, size_t room, size_t *size) {
  if (!take(json, '"')) return false;
  *size = 0;
  while (json->at < json->end && *json->at != '"') {
    char c = *json->at++;
    if ((unsigned char)c < ' ') return false;
    if (c == '\\') {
      if (json->at == json->end) return false;
      c = *json->at++;
      if (c != '"' && c != '\\' && c != '/') return false;
    }
    if (*size == room) return false;
    to[(*size)++] = c;
  }
  return take(json, '"');
}

static bool take_keys(struct scanner *json) {
  if (!take(json, '[')) return false;
  if (take(json, ']')) return true;
  do {
    if (key_count == KEYS) return false;
    key_at[key_count].start = keys_used;
    if (!take_string(json, keys + keys_used, sizeof keys - keys_used, &key_at[key_count].size)) return false;
    keys_used += key_at[key_count].size;
    key_count++;
  } while (take(json, ','));
  return take(json, ']');
}

static bool equal(const char *a, size_t a_size, const char *b, size_t b_size) {
  if (a_size != b_size) return false;
  for (size_t i = 0; i < a_size; i++) {
    if (a[i] != b[i]) return false;
  }
  return true;
}

static bool take_configuration(struct scanner *json) {
  if (!take(json, '{')) return false;
  if (!take(json, '}')) {
    do {
      char name[NAME_SIZE];
      size_t size;
      if (!take_string(json, name, sizeof name, &size) || !take(json, ':')) return false;
      if (equal(name, size, TEXT("header"))) {
        if (!take_string(json, header, sizeof header, &header_size)) return false;
      } else if (equal(name, size, TEXT("keys"))) {
        if (!take_keys(json)) return false;
      } else {
        return false;
      }
    } while (take(json, ','));
    if (!take(json, '}')) return false;
  }
  skip_blanks(json);
  return json->at == json->end;
}

EXPORT(proxy_on_configure) uint32_t proxy_on_configure(uint32_t root, uint32_t size) {
  (void)root;
  used = 0;
  for (const char *c = "x-api-key"; *c != 0; c++) header[header_size++] = *c;

  char *data = NULL;
  size_t got = 0;
  if (size != 0 && proxy_get_buffer_bytes(PLUGIN_CONFIGURATION, 0, size, &data, &got) != OK) {
    proxy_log(ERROR, TEXT("the configuration could not be read: it may be larger than 64 KiB"));
    return 0;
  }
  struct scanner json = {data, data + got};
  if (!take_configuration(&json)) {
    proxy_log(ERROR, TEXT("the configuration must look like {\"header\": \"x-api-key\", \"keys\": [\"demo\"]}"));
    return 0;
  }
  if (key_count == 0 || header_size == 0) {
    proxy_log(ERROR, TEXT("the configuration must name a header and at least one key, or nobody could pass"));
    return 0;
  }
  proxy_log(INFO, TEXT("ready"));
  return 1;
}

// Whether the key is a known one. All keys are compared to their ends, so that the time says nothing about how much of
// a guess was right.
static bool is_known(const char *key, size_t size) {
  bool known = false;
  for (size_t k = 0; k < key_count; k++) {
    if (key_at[k].size != size) continue;
    unsigned char difference = 0;
    for (size_t i = 0; i < size; i++) difference |= (unsigned char)(keys[key_at[k].start + i] ^ key[i]);
    if (difference == 0) known = true;
  }
  return known;
}

// One response header in the ABI's encoding: count, then both lengths, then both texts, each with a NUL behind it.
static const char json_headers[] =
    "\1\0\0\0"
    "\14\0\0\0\20\0\0\0"
    "content-type\0application/json";

__attribute__((noinline)) static void refuse(void) {
  static const char body[] = "{\"error\": \"unauthorized\", \"message\": \"Send a known API key.\"}\n";
  proxy_send_local_response(
      401, TEXT("api_key_missing_or_unknown"), TEXT(body), json_headers, sizeof json_headers, NO_GRPC_STATUS);
}

// Nothing but a trap: a stand-in for the null pointer that nobody thought of.
__attribute__((noinline)) static void crash_on_demand(void) { __builtin_trap(); }

EXPORT(proxy_on_request_headers)
uint32_t proxy_on_request_headers(uint32_t context, uint32_t count, uint32_t end_of_stream) {
  (void)context, (void)count, (void)end_of_stream;
  used = 0;
  char *value = NULL;
  size_t size = 0;

  if (proxy_get_header_map_value(REQUEST_HEADERS, TEXT("x-demo-crash"), &value, &size) == OK &&
      equal(value, size, TEXT("api-key"))) {
    crash_on_demand();
  }
  if (proxy_get_header_map_value(REQUEST_HEADERS, header, header_size, &value, &size) != OK || !is_known(value, size)) {
    refuse();
    return PAUSE;
  }
  proxy_remove_header_map_value(REQUEST_HEADERS, header, header_size);
  return CONTINUE;
}
