// Calls what a plugin can ask for and reports the answers in response headers, as `name=value` joined by "; ":
//
//   x-inspect-start     configuration, environment, log level, arguments, clocks and randomness at proxy_on_configure
//   x-inspect-request   every header-map function on the request map, with statuses
//   x-inspect-response  the same on the response map
//
// `x-inspect-property: a.b.c` asks for the property a, b, c (from the request and the response callback) and answers
// with x-property-request-status, -value and -hex, and the same for -response-.
#include "proxy_wasm.h"

static struct text start_report, request_report, property_path;

static struct property {
  uint32_t status;
  struct text value;
} request_property, response_property;

static void report(struct text *text, const char *name, size_t name_size, const char *value, size_t value_size) {
  if (text->size != 0) text_add(text, T("; "));
  text_add(text, name, name_size);
  text_add(text, T("="));
  for (size_t i = 0; i < value_size; i++) {
    char c = value[i] >= ' ' && value[i] <= '~' ? value[i] : '.';
    text_add(text, &c, 1);
  }
}

static void report_number(struct text *text, const char *name, size_t name_size, uint64_t number) {
  char digits[20];
  report(text, name, name_size, digits, text_of_number(number, digits));
}

PW_EXPORT(proxy_on_configure) uint32_t proxy_on_configure(uint32_t root, uint32_t size) {
  (void)root;
  arena_reset();
  struct text *text = &start_report;
  char *data;
  size_t got = 0;
  report_number(text, T("configuration-size"), size);
  uint32_t status = proxy_get_buffer_bytes(BUFFER_PLUGIN_CONFIGURATION, 0, size, &data, &got);
  report_number(text, T("configuration-status"), status);
  if (status == STATUS_OK) report(text, T("configuration"), data, got);
  size_t buffer_size = 0;
  uint32_t flags = 0;
  report_number(text, T("buffer-status"), proxy_get_buffer_status(BUFFER_PLUGIN_CONFIGURATION, &buffer_size, &flags));
  report_number(text, T("buffer-size"), buffer_size);

  size_t count = 0, bytes = 0;
  report_number(text, T("environ-sizes"), wasi_environ_sizes_get(&count, &bytes));
  report_number(text, T("environ-count"), count);
  char **pointers = arena_allocate(count * sizeof(char *) + 1);
  char *buffer = arena_allocate(bytes + 1);
  if (pointers != NULL && buffer != NULL && wasi_environ_get(pointers, buffer) == 0) {
    for (size_t i = 0; i < count; i++) {
      size_t length = 0;
      while (pointers[i][length] != 0) length++;
      report(text, T("env"), pointers[i], length);
    }
  }
  size_t arguments = 99, argument_bytes = 99;
  report_number(text, T("args-sizes"), wasi_args_sizes_get(&arguments, &argument_bytes));
  report_number(text, T("args"), arguments + argument_bytes);

  uint32_t level = 99;
  report_number(text, T("log-level-status"), proxy_get_log_level(&level));
  report_number(text, T("log-level"), level);
  uint64_t now = 0, real = 0, monotonic = 0, later = 0, bad = 0;
  report_number(text, T("time-status"), proxy_get_current_time_nanoseconds(&now));
  report_number(text, T("realtime-status"), wasi_clock_time_get(0, 0, &real));
  report_number(text, T("monotonic-status"), wasi_clock_time_get(1, 0, &monotonic));
  report_number(text, T("bad-clock-status"), wasi_clock_time_get(77, 0, &bad));
  wasi_clock_time_get(1, 0, &later);
  report_number(text, T("time-seconds"), now / 1000000000u);
  report_number(text, T("time-agrees"), real >= now && real - now < 1000000000u);
  report_number(text, T("monotonic-grows"), later >= monotonic && monotonic != 0);
  uint8_t one[16] = {0}, two[16] = {0};
  report_number(text, T("random-status"), wasi_random_get(one, sizeof one));
  wasi_random_get(two, sizeof two);
  bool same = true;
  for (size_t i = 0; i < sizeof one; i++) same = same && one[i] == two[i];
  report_number(text, T("random-differs"), !same);
  report_number(text, T("random-huge-status"), wasi_random_get((uint8_t *)buffer, 0x10000000));
  struct wasi_vector line = {T("a line through fd_write\n")};
  size_t written = 0;
  report_number(text, T("fd-write-status"), wasi_fd_write(1, &line, 1, &written));
  report_number(text, T("fd-written"), written);
  report_number(text, T("fd-write-bad-status"), wasi_fd_write(9, &line, 1, &written));
  report_number(text, T("log-bad-level-status"), proxy_log(42, T("never seen")));
  report_number(text, T("log-bad-pointer-status"), proxy_log(LOG_INFO, (const char *)0xfffffff0u, 64));
  report_number(text, T("done-status"), proxy_done());
  report_number(text, T("bad-context-status"), proxy_set_effective_context(4000000000u));
  return 1;
}

// Puts every header-map function through its paces on one map, and leaves two edits behind.
static void inspect_map(struct text *text, uint32_t map, uint32_t told) {
  char *data = NULL;
  size_t size = 0;
  uint32_t pairs = 0;
  report_number(text, T("told"), told);
  size_t map_size = 0;
  report_number(text, T("size-status"), proxy_get_header_map_size(map, &map_size));
  report_number(text, T("pairs-status"), proxy_get_header_map_pairs(map, &data, &size));
  if (size >= 4) pairs = *(uint32_t *)data;
  report_number(text, T("pairs"), pairs);
  report_number(text, T("size-agrees"), map_size == size || map_size == pairs);
  if (pairs != 0 && 4 + pairs * 8 < size) {
    uint32_t first = *(uint32_t *)(data + 4);
    report(text, T("first"), data + 4 + pairs * 8, first);
  }
  report_number(text, T("missing-status"), proxy_get_header_map_value(map, T("x-not-there"), &data, &size));
  report_number(text, T("add-status"), proxy_add_header_map_value(map, T("X-Inspect-Twice"), T("one")));
  proxy_add_header_map_value(map, T("x-inspect-twice"), T("two"));
  if (header_get(map, T("x-inspect-twice"), &data, &size)) report(text, T("twice"), data, size);
  report_number(text, T("replace-status"), proxy_replace_header_map_value(map, T("x-inspect-twice"), T("three")));
  if (header_get(map, T("x-inspect-twice"), &data, &size)) report(text, T("replaced"), data, size);
  report_number(text, T("replace-new-status"), proxy_replace_header_map_value(map, T("x-inspect-new"), T("new")));
  report_number(text, T("remove-status"), proxy_remove_header_map_value(map, T("x-inspect-twice")));
  report_number(text, T("removed-status"), proxy_get_header_map_value(map, T("x-inspect-twice"), &data, &size));
  report_number(text, T("remove-missing-status"), proxy_remove_header_map_value(map, T("x-not-there")));
  report_number(text, T("bad-map-status"), proxy_get_header_map_size(77, &map_size));
  report_number(
      text, T("bad-pointer-status"), proxy_get_header_map_value(map, (const char *)0xfffffff0u, 64, &data, &size));
  report_number(text, T("bad-return-status"), proxy_get_header_map_size(map, (size_t *)0xfffffffeu));
}

static bool inspect_property(struct property *property) {
  property->value.size = 0;
  if (property_path.size == 0) return false;
  char path[256];
  size_t size = property_path.size < sizeof path ? property_path.size : sizeof path;
  for (size_t i = 0; i < size; i++) path[i] = property_path.data[i] == '.' ? 0 : property_path.data[i];
  char *value = NULL;
  size_t value_size = 0;
  property->status = proxy_get_property(path, size, &value, &value_size);
  if (property->status == STATUS_OK) text_add(&property->value, value, value_size);
  return true;
}

static void show_property(
    const struct property *property, const char *status, size_t status_size, const char *value, size_t value_size,
    const char *hex, size_t hex_size) {
  static const char digits[] = "0123456789abcdef";
  struct text text, bytes;
  text.size = bytes.size = 0;
  for (size_t i = 0; i < property->value.size && i < 1024; i++) {
    unsigned char c = (unsigned char)property->value.data[i];
    char printable = c >= ' ' && c <= '~' ? (char)c : '.';
    text_add(&text, &printable, 1);
    text_add(&bytes, &digits[c >> 4], 1);
    text_add(&bytes, &digits[c & 15], 1);
  }
  header_add_number(MAP_RESPONSE, status, status_size, property->status);
  header_add(MAP_RESPONSE, value, value_size, text.data, text.size);
  header_add(MAP_RESPONSE, hex, hex_size, bytes.data, bytes.size);
}

PW_EXPORT(proxy_on_request_headers)
uint32_t proxy_on_request_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)context;
  arena_reset();
  request_report.size = property_path.size = 0;
  report_number(&request_report, T("end"), end);
  inspect_map(&request_report, MAP_REQUEST, count);
  char *path;
  size_t size;
  if (header_get(MAP_REQUEST, T("x-inspect-property"), &path, &size)) text_add(&property_path, path, size);
  inspect_property(&request_property);
  return CONTINUE;
}

PW_EXPORT(proxy_on_response_headers)
uint32_t proxy_on_response_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)context;
  arena_reset();
  static struct text response_report;
  response_report.size = 0;
  report_number(&response_report, T("end"), end);
  inspect_map(&response_report, MAP_RESPONSE, count);
  header_add(MAP_RESPONSE, T("x-inspect-start"), start_report.data, start_report.size);
  header_add(MAP_RESPONSE, T("x-inspect-request"), request_report.data, request_report.size);
  header_add(MAP_RESPONSE, T("x-inspect-response"), response_report.data, response_report.size);
  if (inspect_property(&response_property)) {
    show_property(
        &request_property, T("x-property-request-status"), T("x-property-request-value"), T("x-property-request-hex"));
    show_property(
        &response_property, T("x-property-response-status"), T("x-property-response-value"),
        T("x-property-response-hex"));
  }
  return CONTINUE;
}
