// The plugin of the conformance suite: it runs the hostcalls that a script names, in the callbacks that the script names,
// and keeps a journal of what came back. It is built once per ABI (-DABI=10, 20 or 21); README.md has the language.
//
// An HTTP stream brings its script in the header `x-script-NAME`, NAME being what the plugin's configuration says; a TCP
// connection in its first line, behind a byte 1. A stream without a script is left alone. The journal is fetched by a
// request with `x-collect: NAME`, or by a connection that starts with a byte 2.
#define PW_OWN_ABI_VERSION
#define PW_OWN_ALLOCATOR
#include "../Plugins/proxy_wasm.h"

#ifndef ABI
#error "-DABI=10, 20 or 21"
#endif

#if ABI == 10
PW_EXPORT(proxy_abi_version_0_1_0) void abi_version(void) {}
#define WASI_MODULE "wasi_unstable"
#elif ABI == 20
PW_EXPORT(proxy_abi_version_0_2_0) void abi_version(void) {}
#define WASI_MODULE "wasi_snapshot_preview1"
#else
PW_EXPORT(proxy_abi_version_0_2_1) void abi_version(void) {}
#define WASI_MODULE "wasi_snapshot_preview1"
#endif

typedef uint32_t word;

// Memory for one outermost callback; the host may call back into the plugin from within a hostcall.

extern char __heap_base;
static uintptr_t heap_next;
static uint32_t depth;
// The host's next allocations fail, to see what it says then.
static bool out_of_memory;

static void *allocate(size_t size) {
  if (heap_next == 0) heap_next = ((uintptr_t)&__heap_base + 15) & ~(uintptr_t)15;
  uintptr_t start = heap_next, end = start + ((size + 15) & ~(size_t)15);
  if (end < start) return NULL;
  uintptr_t limit = (uintptr_t)__builtin_wasm_memory_size(0) * PW_PAGE;
  if (end > limit && __builtin_wasm_memory_grow(0, (end - limit + PW_PAGE - 1) / PW_PAGE) == (size_t)-1) return NULL;
  heap_next = end;
  return (void *)start;
}

PW_EXPORT(proxy_on_memory_allocate) void *on_memory_allocate(size_t size) {
  return out_of_memory ? NULL : allocate(size);
}

// The journal.

static char journal[1 << 19];
static size_t journal_size;
// What happened before the first stream: start and configuration.
static char boot[1 << 14];
static size_t boot_size;
static bool booting = true;

static void put(const char *data, size_t size) {
  char *to = booting ? boot : journal;
  size_t *used = booting ? &boot_size : &journal_size, capacity = booting ? sizeof boot : sizeof journal;
  for (size_t i = 0; i < size && *used < capacity; i++) to[(*used)++] = data[i];
}
static void put_text(const char *text) {
  size_t size = 0;
  while (text[size] != 0) size++;
  put(text, size);
}
static void put_number(uint64_t number) {
  char digits[20];
  put(digits, text_of_number(number, digits));
}
static void put_hex(uint8_t byte) {
  static const char digits[] = "0123456789abcdef";
  char text[3] = {'%', digits[byte >> 4], digits[byte & 15]};
  put(text, 3);
}
static void put_escaped(const char *data, size_t size) {
  for (size_t i = 0; i < size; i++) {
    uint8_t byte = (uint8_t)data[i];
    if (byte < 32 || byte > 126 || byte == '%' || byte == '\'') put_hex(byte);
    else put(data + i, 1);
  }
}

// Streams that brought a script.

enum kind { CC, QH, QB, QT, PH, PB, PT, DONE, LOG, DEL, TICK, HC, GI, GM, GT, GC, QR, FF, NC, DD, UD, DC, UC, VS, CF, KINDS };
static const char *const labels[KINDS] = {"cc", "qh", "qb", "qt", "ph", "pb", "pt", "done", "log", "del", "tick", "hc", "gi",
                                          "gm", "gt", "gc", "qr", "ff", "nc", "dd", "ud", "dc", "uc", "vs", "cf"};

struct script {
  char text[8192];
  size_t size;
  uint8_t counts[KINDS];
};
struct stream {
  word context;
  word number;
  bool used;
  struct script script;
};
static struct stream streams[32];
static word root, next_number, newest;
// What callbacks of the root follow: the script of the stream that came last, or the configuration's.
static struct script root_script;
static char name[32] = "a";
static size_t name_size = 1;
static uint64_t registers[10];
// What an output `&t` brought, for arguments `$$`.
static char kept[256];
static size_t kept_size;

static struct stream *stream_of(word context) {
  for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
    if (streams[i].used && streams[i].context == context) return &streams[i];
  }
  return NULL;
}

static void put_context(word context) {
  struct stream *stream = stream_of(context);
  if (context == root) {
    put_text("root");
  } else if (stream != NULL) {
    put_text("s");
    put_number(stream->number);
  } else {
    put_text(context == 0 ? "none" : "other");
  }
}

static void script_set(struct script *script, const char *text, size_t size) {
  script->size = 0;
  for (size_t i = 0; i < size && script->size < sizeof script->text; i++) {
    script->text[script->size++] = text[i];
  }
  for (size_t i = 0; i < KINDS; i++) script->counts[i] = 0;
}

static struct stream *stream_new(word context, const char *text, size_t size) {
  size_t at = 0;
  while (at < sizeof streams / sizeof *streams && streams[at].used) at++;
  if (at == sizeof streams / sizeof *streams) at = next_number % at;
  struct stream *stream = &streams[at];
  stream->context = newest = context;
  stream->number = next_number++;
  stream->used = true;
  script_set(&stream->script, text, size);
  script_set(&root_script, text, size);
  return stream;
}

// Hostcalls by name: a letter per parameter, `i` for 32 and `l` for 64 bits.

struct function {
  const char *name, *parameters;
  void *address;
};
#define IMPORT(name, ...) __attribute__((import_module("env"), import_name("proxy_" #name))) extern word name(__VA_ARGS__)
#define WASI(name, ...) __attribute__((import_module(WASI_MODULE), import_name(#name))) extern word system_##name(__VA_ARGS__)
#define I word
#define L uint64_t
#if ABI == 10
IMPORT(get_configuration, I, I);
IMPORT(continue_request, void);
IMPORT(continue_response, void);
IMPORT(clear_route_cache, void);
#else
IMPORT(continue_stream, I);
IMPORT(close_stream, I);
#endif
#if ABI == 21
IMPORT(get_log_level, I);
#endif
WASI(args_get, I, I);
WASI(args_sizes_get, I, I);
WASI(environ_get, I, I);
WASI(environ_sizes_get, I, I);
WASI(clock_res_get, I, I);
WASI(clock_time_get, I, L, I);
WASI(fd_advise, I, L, L, I);
WASI(fd_allocate, I, L, L);
WASI(fd_close, I);
WASI(fd_datasync, I);
WASI(fd_fdstat_get, I, I);
WASI(fd_fdstat_set_flags, I, I);
WASI(fd_fdstat_set_rights, I, L, L);
WASI(fd_filestat_get, I, I);
WASI(fd_filestat_set_size, I, L);
WASI(fd_filestat_set_times, I, L, L, I);
WASI(fd_pread, I, I, I, L, I);
WASI(fd_prestat_get, I, I);
WASI(fd_prestat_dir_name, I, I, I);
WASI(fd_pwrite, I, I, I, L, I);
WASI(fd_read, I, I, I, I);
WASI(fd_readdir, I, I, I, L, I);
WASI(fd_renumber, I, I);
WASI(fd_seek, I, L, I, I);
WASI(fd_sync, I);
WASI(fd_tell, I, I);
WASI(fd_write, I, I, I, I);
WASI(path_create_directory, I, I, I);
WASI(path_filestat_get, I, I, I, I, I);
WASI(path_filestat_set_times, I, I, I, I, L, L, I);
#ifndef FOR_ENVOY
WASI(path_link, I, I, I, I, I, I, I);
#endif
WASI(path_open, I, I, I, I, I, L, L, I, I);
WASI(path_readlink, I, I, I, I, I, I);
WASI(path_remove_directory, I, I, I);
WASI(path_rename, I, I, I, I, I, I);
#ifndef FOR_ENVOY
WASI(path_symlink, I, I, I, I, I);
#endif
WASI(path_unlink_file, I, I, I);
WASI(poll_oneoff, I, I, I, I);
WASI(random_get, I, I);
WASI(sched_yield, void);
WASI(sock_accept, I, I, I);
WASI(sock_recv, I, I, I, I, I, I);
WASI(sock_send, I, I, I, I, I);
WASI(sock_shutdown, I, I);
__attribute__((import_module(WASI_MODULE), import_name("proc_exit"))) extern void wasi_exit(word code);

#define HOST(name, parameters) {#name, parameters, (void *)proxy_##name}
#define OWN(name, parameters) {#name, parameters, (void *)name}
#define SYSTEM(name, parameters) {"wasi:" #name, parameters, (void *)system_##name}
static const struct function functions[] = {
    HOST(done, ""),
    HOST(set_effective_context, "i"),
    HOST(log, "iii"),
    HOST(get_current_time_nanoseconds, "i"),
    HOST(set_tick_period_milliseconds, "i"),
    HOST(get_buffer_bytes, "iiiii"),
    HOST(get_buffer_status, "iii"),
    HOST(set_buffer_bytes, "iiiii"),
    HOST(get_header_map_size, "ii"),
    HOST(get_header_map_pairs, "iii"),
    HOST(set_header_map_pairs, "iii"),
    HOST(get_header_map_value, "iiiii"),
    HOST(add_header_map_value, "iiiii"),
    HOST(replace_header_map_value, "iiiii"),
    HOST(remove_header_map_value, "iii"),
    HOST(get_status, "iii"),
    HOST(send_local_response, "iiiiiiii"),
    HOST(get_property, "iiii"),
    HOST(set_property, "iiii"),
    HOST(http_call, "iiiiiiiiii"),
    HOST(grpc_call, "iiiiiiiiiiii"),
    HOST(grpc_stream, "iiiiiiiii"),
    HOST(grpc_send, "iiii"),
    HOST(grpc_cancel, "i"),
    HOST(grpc_close, "i"),
    HOST(set_shared_data, "iiiii"),
    HOST(get_shared_data, "iiiii"),
    HOST(register_shared_queue, "iii"),
    HOST(resolve_shared_queue, "iiiii"),
    HOST(enqueue_shared_queue, "iii"),
    HOST(dequeue_shared_queue, "iii"),
    HOST(define_metric, "iiii"),
    HOST(record_metric, "il"),
    HOST(increment_metric, "il"),
    HOST(get_metric, "ii"),
    HOST(call_foreign_function, "iiiiii"),
#if ABI == 10
    OWN(get_configuration, "ii"),
    OWN(continue_request, ""),
    OWN(continue_response, ""),
    OWN(clear_route_cache, ""),
#else
    OWN(continue_stream, "i"),
    OWN(close_stream, "i"),
#endif
#if ABI == 21
    OWN(get_log_level, "i"),
#endif
    SYSTEM(args_get, "ii"),
    SYSTEM(args_sizes_get, "ii"),
    SYSTEM(environ_get, "ii"),
    SYSTEM(environ_sizes_get, "ii"),
    SYSTEM(clock_res_get, "ii"),
    SYSTEM(clock_time_get, "ili"),
    SYSTEM(fd_advise, "illi"),
    SYSTEM(fd_allocate, "ill"),
    SYSTEM(fd_close, "i"),
    SYSTEM(fd_datasync, "i"),
    SYSTEM(fd_fdstat_get, "ii"),
    SYSTEM(fd_fdstat_set_flags, "ii"),
    SYSTEM(fd_fdstat_set_rights, "ill"),
    SYSTEM(fd_filestat_get, "ii"),
    SYSTEM(fd_filestat_set_size, "il"),
    SYSTEM(fd_filestat_set_times, "illi"),
    SYSTEM(fd_pread, "iiili"),
    SYSTEM(fd_prestat_get, "ii"),
    SYSTEM(fd_prestat_dir_name, "iii"),
    SYSTEM(fd_pwrite, "iiili"),
    SYSTEM(fd_read, "iiii"),
    SYSTEM(fd_readdir, "iiili"),
    SYSTEM(fd_renumber, "ii"),
    SYSTEM(fd_seek, "ilii"),
    SYSTEM(fd_sync, "i"),
    SYSTEM(fd_tell, "ii"),
    SYSTEM(fd_write, "iiii"),
    SYSTEM(path_create_directory, "iii"),
    SYSTEM(path_filestat_get, "iiiii"),
    SYSTEM(path_filestat_set_times, "iiiilli"),
#ifndef FOR_ENVOY
    SYSTEM(path_link, "iiiiiii"),
#endif
    SYSTEM(path_open, "iiiiillii"),
    SYSTEM(path_readlink, "iiiiii"),
    SYSTEM(path_remove_directory, "iii"),
    SYSTEM(path_rename, "iiiiii"),
#ifndef FOR_ENVOY
    SYSTEM(path_symlink, "iiiii"),
#endif
    SYSTEM(path_unlink_file, "iii"),
    SYSTEM(poll_oneoff, "iiii"),
    SYSTEM(random_get, "ii"),
    SYSTEM(sched_yield, ""),
    SYSTEM(sock_accept, "iii"),
    SYSTEM(sock_recv, "iiiiii"),
    SYSTEM(sock_send, "iiiii"),
    SYSTEM(sock_shutdown, "ii"),
};

static bool equal(const char *left, const char *right) {
  while (*left != 0 && *left == *right) left++, right++;
  return *left == *right;
}

static word invoke(const struct function *function, const uint64_t *a) {
#define CASE(signature, types, ...) \
  if (equal(function->parameters, signature)) return ((word(*) types)function->address)(__VA_ARGS__);
#define W(n) (word) a[n]
  CASE("", (void))
  CASE("i", (I), W(0))
  CASE("ii", (I, I), W(0), W(1))
  CASE("iii", (I, I, I), W(0), W(1), W(2))
  CASE("iiii", (I, I, I, I), W(0), W(1), W(2), W(3))
  CASE("iiiii", (I, I, I, I, I), W(0), W(1), W(2), W(3), W(4))
  CASE("iiiiii", (I, I, I, I, I, I), W(0), W(1), W(2), W(3), W(4), W(5))
  CASE("iiiiiii", (I, I, I, I, I, I, I), W(0), W(1), W(2), W(3), W(4), W(5), W(6))
  CASE("iiiiiiii", (I, I, I, I, I, I, I, I), W(0), W(1), W(2), W(3), W(4), W(5), W(6), W(7))
  CASE("iiiiiiiii", (I, I, I, I, I, I, I, I, I), W(0), W(1), W(2), W(3), W(4), W(5), W(6), W(7), W(8))
  CASE("iiiiiiiiii", (I, I, I, I, I, I, I, I, I, I), W(0), W(1), W(2), W(3), W(4), W(5), W(6), W(7), W(8), W(9))
  CASE("iiiiiiiiiiii", (I, I, I, I, I, I, I, I, I, I, I, I), W(0), W(1), W(2), W(3), W(4), W(5), W(6), W(7), W(8), W(9),
       W(10), W(11))
  CASE("il", (I, L), W(0), a[1])
  CASE("ili", (I, L, I), W(0), a[1], W(2))
  CASE("ill", (I, L, L), W(0), a[1], a[2])
  CASE("illi", (I, L, L, I), W(0), a[1], a[2], W(3))
  CASE("ilii", (I, L, I, I), W(0), a[1], W(2), W(3))
  CASE("iiili", (I, I, I, L, I), W(0), W(1), W(2), a[3], W(4))
  CASE("iiiilli", (I, I, I, I, L, L, I), W(0), W(1), W(2), W(3), a[4], a[5], W(6))
  CASE("iiiiillii", (I, I, I, I, I, L, L, I, I), W(0), W(1), W(2), W(3), W(4), a[5], a[6], W(7), W(8))
  __builtin_trap();
}

// Arguments: see README.md.

// A `size` that a text was decoded to; %XX are bytes.
static char *decode(const char *text, size_t size, size_t *decoded) {
  char *to = allocate(size + 1);
  size_t count = 0;
  for (size_t i = 0; i < size; i++) {
    char c = text[i];
    if (c == '%' && i + 2 < size) {
      uint8_t byte = 0;
      for (size_t j = 1; j <= 2; j++) {
        char digit = text[i + j];
        byte = (uint8_t)(byte * 16 + (digit >= 'a' ? digit - 'a' + 10 : digit >= 'A' ? digit - 'A' + 10 : digit - '0'));
      }
      c = (char)byte;
      i += 2;
    }
    to[count++] = c;
  }
  to[count] = 0;
  *decoded = count;
  return to;
}

static void store(char *to, word value) {
  for (size_t i = 0; i < 4; i++) to[i] = (char)(value >> (8 * i));
}
static word load(const char *from) {
  word value = 0;
  for (size_t i = 0; i < 4; i++) value |= (word)(uint8_t)from[i] << (8 * i);
  return value;
}

// `a=b,c=d` as serialized pairs.
static char *serialize(const char *text, size_t size, size_t *serialized) {
  size_t count = size == 0 ? 0 : 1;
  for (size_t i = 0; i < size; i++) count += text[i] == ',';
  char *to = allocate(4 + count * 10 + size + 16);
  store(to, (word)count);
  size_t lengths = 4, at = 4 + count * 8, start = 0;
  for (size_t pair = 0; pair < count; pair++) {
    size_t middle = start, end;
    while (middle < size && text[middle] != '=' && text[middle] != ',') middle++;
    end = middle;
    while (end < size && text[end] != ',') end++;
    for (size_t part = 0; part < 2; part++) {
      const char *from = text + (part == 0 ? start : middle + 1);
      size_t length = part == 0 ? middle - start : middle < end ? end - middle - 1 : 0, got;
      char *bytes = decode(from, length, &got);
      store(to + lengths, (word)got);
      lengths += 4;
      for (size_t i = 0; i < got; i++) to[at++] = bytes[i];
      to[at++] = 0;
    }
    start = end + 1;
  }
  *serialized = at;
  return to;
}

static void put_pairs(const char *data, size_t size) {
  put_text("{");
  word count = size >= 4 ? load(data) : 0;
  size_t at = 4 + (size_t)count * 8;
  for (word pair = 0; pair < count && at <= size; pair++) {
    word key = load(data + 4 + pair * 8), value = load(data + 8 + pair * 8);
    if (pair != 0) put_text(",");
    put_escaped(data + at, key);
    put_text("=");
    put_escaped(data + at + key + 1, value);
    at += key + value + 2;
  }
  put_text("}");
  if (size != 0 && size != at) put_text("!size");
}

static int64_t number(const char *text, size_t size) {
  if (size > 2 && text[0] == '0' && text[1] == 'x') {
    uint64_t value = 0;
    for (size_t i = 2; i < size; i++) {
      value = value * 16 + (uint64_t)(text[i] >= 'a' ? text[i] - 'a' + 10 : text[i] - '0');
    }
    return (int64_t)value;
  }
  return size > 0 && text[0] == '-' ? -(int64_t)text_number(text + 1, size - 1) : (int64_t)text_number(text, size);
}

struct output {
  char kind;
  size_t keep;
  char *cells;
};

static const char *status_name(word status) {
  static const char *const names[] = {
      "OK", "NOT_FOUND", "BAD_ARGUMENT", "SERIALIZATION_FAILURE", "PARSE_FAILURE", "BAD_EXPRESSION",
      "INVALID_MEMORY_ACCESS", "EMPTY", "CAS_MISMATCH", "RESULT_MISMATCH", "INTERNAL_FAILURE", "BROKEN_CONNECTION",
      "UNIMPLEMENTED"};
  return status < sizeof names / sizeof *names ? names[status] : "?";
}

static word returned;

// One statement: `name argument ...`.
static void run(const char *text, size_t size, word me) {
  uint64_t arguments[16] = {0};
  size_t count = 0, at = 0;
  struct output outputs[4];
  size_t output_count = 0;
  while (at < size && text[at] == ' ') at++;
  size_t start = at;
  while (at < size && text[at] != ' ') at++;
  const char *verb = text + start;
  size_t verb_size = at - start;
  if (verb_size == 0) return;

  const struct function *function = NULL;
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    if (text_equal(verb, verb_size, functions[i].name)) function = &functions[i];
  }

  while (at < size && count < 14) {
    while (at < size && text[at] == ' ') at++;
    if (at == size) break;
    start = at;
    while (at < size && text[at] != ' ') at++;
    const char *token = text + start;
    size_t length = at - start, got;
    switch (token[0]) {
      case '\'': {
        char *bytes = decode(token + 1, length - 1, &got);
        arguments[count++] = (uintptr_t)bytes;
        arguments[count++] = got;
        break;
      }
      case '{': {
        char *bytes = serialize(token + 1, length - 2, &got);
        arguments[count++] = (uintptr_t)bytes;
        arguments[count++] = got;
        break;
      }
      case '*': {  // *1000a: that many times the character
        size_t digits = 1;
        while (digits < length && token[digits] >= '0' && token[digits] <= '9') digits++;
        size_t many = (size_t)number(token + 1, digits - 1);
        char *bytes = allocate(many);
        if (bytes == NULL) __builtin_trap();
        memset(bytes, token[digits], many);
        arguments[count++] = (uintptr_t)bytes;
        arguments[count++] = many;
        break;
      }
      case '[': {  // [text,text]: vectors of WASI, each pointer and length
        char *vectors = allocate(8 * 16);
        size_t made = 0, from = 1;
        for (size_t i = 1; i < length && made < 16; i++) {
          if (token[i] != ',' && token[i] != ']') continue;
          char *bytes = decode(token + from, i - from, &got);
          store(vectors + made * 8, (word)(uintptr_t)bytes);
          store(vectors + made * 8 + 4, (word)got);
          made++;
          from = i + 1;
        }
        arguments[count++] = (uintptr_t)vectors;
        arguments[count++] = made;
        break;
      }
      case '&': {  // &n a word, &l 64 bits, &s pointer and size, &p the same as pairs, &z only the size, &bN N bytes
        struct output *output = &outputs[output_count < 4 ? output_count++ : 3];
        output->kind = length > 1 ? token[1] : 'n';
        output->keep = 0;
        size_t bytes = 16;
        if (output->kind == 'b') {
          bytes = (size_t)number(token + 2, length - 2);
          output->keep = bytes;
        } else if (length > 2) {
          output->keep = 1 + (size_t)(token[2] - '0');
        }
        output->cells = allocate(bytes + 16);
        // What the host does not write stays recognizable.
        memset(output->cells, 0xee, bytes + 16);
        arguments[count++] = (uintptr_t)output->cells;
        if (output->kind == 's' || output->kind == 't' || output->kind == 'p' || output->kind == 'z' || output->kind == 'h') {
          arguments[count++] = (uintptr_t)output->cells + 4;
        }
        break;
      }
      case '!': arguments[count++] = 0xfffffff0u; break;  // outside the memory
      case '$':
        if (length > 1 && token[1] == '$') {  // $$: the bytes that &t kept
          arguments[count++] = (uintptr_t)kept;
          arguments[count++] = kept_size;
        } else {
          arguments[count++] = registers[token[1] - '0'];
        }
        break;
      case '@':
        arguments[count++] = text_equal(token, length, "@root") ? root : text_equal(token, length, "@me") ? me : newest;
        break;
      default: arguments[count++] = (uint64_t)number(token, length);
    }
  }

  if (function == NULL) {
    if (text_equal(verb, verb_size, "pause")) returned = PAUSE;
    else if (text_equal(verb, verb_size, "return")) returned = (word)arguments[0];
    else if (text_equal(verb, verb_size, "trap")) __builtin_trap();
    else if (text_equal(verb, verb_size, "exit")) wasi_exit((word)arguments[0]);
    else if (text_equal(verb, verb_size, "oom")) out_of_memory = arguments[0] != 0;
    else {
      put_text("  unknown: ");
      put_escaped(verb, verb_size);
      put_text("\n");
    }
    return;
  }
  size_t wanted = 0;
  while (function->parameters[wanted] != 0) wanted++;
  put_text("  ");
  put(verb, verb_size);
  if (wanted != count) {
    put_text(" wants ");
    put_number(wanted);
    put_text(" arguments, not ");
    put_number(count);
    put_text("\n");
    return;
  }
  bool is_wasi = text_has_prefix(verb, verb_size, "wasi:");
  bool was_booting = booting;
  size_t before = booting ? boot_size : journal_size;
  word status = invoke(function, arguments);
  // A callback from within the call has written a line of its own in between: this one starts again behind it.
  if (was_booting == booting && before != (booting ? boot_size : journal_size)) {
    put_text("  ");
    put(verb, verb_size);
  }
  put_text(" ");
  if (is_wasi) put_number(status);
  else put_text(status_name(status));
  for (size_t i = 0; i < output_count && status == 0; i++) {
    struct output *output = &outputs[i];
    uint64_t value = load(output->cells);
    char *data = (char *)(uintptr_t)load(output->cells);
    size_t length = load(output->cells + 4);
    put_text(" ");
    switch (output->kind) {
      case 'l':
        value |= (uint64_t)load(output->cells + 4) << 32;
        put_number(value);
        break;
      case 't':
        kept_size = length < sizeof kept ? length : sizeof kept;
        for (size_t j = 0; j < kept_size; j++) kept[j] = data[j];
        put_number(length);
        output->keep = 0;
        break;
      case 's':
        put_text("'");
        put_escaped(data, length);
        put_text("'");
        break;
      case 'h':  // bytes in hexadecimal
        for (size_t j = 0; j < length; j++) put_hex((uint8_t)data[j]);
        break;
      case 'p': put_pairs(data, length); break;
      case 'z': put_number(length); break;
      case 'b':
        put_text("'");
        put_escaped(output->cells, output->keep);
        put_text("'");
        output->keep = 0;
        break;
      default: put_number(value);
    }
    if (output->keep != 0) registers[output->keep - 1] = value;
  }
  put_text("\n");
}

// Runs what the script has for that callback: sections `label`, `label` with the callback's number, and with `e` at the
// end of the stream or `m` before it.
static word perform(struct script *script, enum kind kind, word me, bool end) {
  returned = CONTINUE;
  uint8_t turn = ++script->counts[kind];
  size_t at = 0;
  while (at < script->size) {
    size_t end_of_section = at;
    while (end_of_section < script->size && script->text[end_of_section] != '|') end_of_section++;
    const char *text = script->text + at;
    size_t size = end_of_section - at;
    at = end_of_section + 1;
    while (size > 0 && *text == ' ') text++, size--;
    size_t colon = 0;
    while (colon < size && text[colon] != ':') colon++;
    if (colon == size || !text_has_prefix(text, colon, labels[kind])) continue;
    size_t suffix = 0;
    while (labels[kind][suffix] != 0) suffix++;
    bool matches = suffix == colon;
    if (suffix + 1 == colon) {
      char mark = text[suffix];
      matches = mark == 'e' ? end : mark == 'm' ? !end : mark >= '0' && mark <= '9' && mark - '0' == turn;
    }
    if (!matches) continue;
    size_t statement = colon + 1;
    while (statement < size) {
      size_t stop = statement;
      while (stop < size && text[stop] != ';') stop++;
      run(text + statement, stop - statement, me);
      statement = stop + 1;
    }
  }
  return returned;
}

// A line of the journal for a callback: label, context, arguments.
static void announce(enum kind kind, word context, const word *arguments, size_t count) {
  put_text(labels[kind]);
  put_text(" ");
  put_context(context);
  for (size_t i = 0; i < count; i++) {
    put_text(" ");
    put_number(arguments[i]);
  }
  put_text("\n");
}

static void enter(void) {
  if (depth++ == 0) heap_next = 0;
}
static word leave(word result) {
  depth--;
  return result;
}

// A callback of a stream that may have brought a script.
static word on_stream(enum kind kind, word context, const word *arguments, size_t count, bool end, word silent) {
  struct stream *stream = stream_of(context);
  if (stream == NULL) return silent;
  enter();
  announce(kind, context, arguments, count);
  word result = perform(&stream->script, kind, context, end);
  return leave(result);
}

static void on_root(enum kind kind, const word *arguments, size_t count) {
  enter();
  announce(kind, root, arguments, count);
  perform(&root_script, kind, root, false);
  leave(0);
}

#define ARGUMENTS(...) (word[]){__VA_ARGS__}, sizeof((word[]){__VA_ARGS__}) / sizeof(word)

// Start and configuration.

static void configured_text(const char *data, size_t size, const char *key, const char **text, size_t *text_size) {
  int at = text_find(data, size, key);
  *text_size = 0;
  if (at < 0) return;
  size_t start = (size_t)at, end;
  while (start < size && data[start] != ':') start++;
  while (start < size && data[start] != '"') start++;
  end = ++start;
  while (end < size && data[end] != '"') end++;
  *text = data + start;
  *text_size = end < size ? end - start : 0;
}

PW_EXPORT(_initialize) void initialize(void) { put_text("_initialize\n"); }
PW_EXPORT(main) int entry(int count, char **vector) {
  put_text("main ");
  put_number((word)count);
  put_text(" ");
  put_number((word)(uintptr_t)vector);
  put_text("\n");
  return 0;
}

PW_EXPORT(proxy_on_context_create) void on_context_create(word context, word parent) {
  if (parent == 0) {
    root = context;
    if (booting) announce(CC, context, ARGUMENTS(parent));
  }
}

PW_EXPORT(proxy_on_vm_start) word on_vm_start(word context, word size) {
  enter();
  announce(VS, context, ARGUMENTS(size));
  run("get_buffer_bytes 6 0 99999 &s", 29, context);
  return leave(1);
}

PW_EXPORT(proxy_on_configure) word on_configure(word context, word size) {
  enter();
  char *data = NULL;
  size_t got = 0;
#if ABI == 10
  get_configuration((word)(uintptr_t)&data, (word)(uintptr_t)&got);
#else
  proxy_get_buffer_bytes(BUFFER_PLUGIN_CONFIGURATION, 0, size, &data, &got);
#endif
  put_text("cf ");
  put_context(context);
  put_text(got == size ? " same size\n" : " another size\n");
  const char *text;
  size_t text_size;
  configured_text(data, got, "\"name\"", &text, &text_size);
  if (text_size > 0 && text_size < sizeof name) {
    for (size_t i = 0; i < text_size; i++) name[i] = text[i];
    name_size = text_size;
  }
  configured_text(data, got, "\"script\"", &text, &text_size);
  script_set(&root_script, text, text_size);
  returned = 0;
  perform(&root_script, CF, context, false);
  booting = false;
  return leave(returned == 0 ? 1 : 0);
}

// HTTP.

static bool own_header(const char *prefix, char **value, size_t *size) {
  struct text key = {.size = 0};
  size_t prefix_size = 0;
  while (prefix[prefix_size] != 0) prefix_size++;
  text_add(&key, prefix, prefix_size);
  text_add(&key, name, name_size);
  *value = NULL;
  *size = 0;
  return proxy_get_header_map_value(MAP_REQUEST, key.data, key.size, value, size) == STATUS_OK && *size > 0;
}

static word request_headers(word context, word headers, word end, bool has_end) {
  enter();
  char *text;
  size_t size;
  if (own_header("x-collect-", &text, &size)) {
    if (text_equal(text, size, "boot")) {
      proxy_send_local_response(200, NULL, 0, boot, boot_size, NULL, 0, (word)-1);
    } else {
      proxy_send_local_response(200, NULL, 0, journal, journal_size, NULL, 0, (word)-1);
    }
    if (text_equal(text, size, "reset")) {
      journal_size = 0;
      next_number = 0;
      script_set(&root_script, "", 0);
      for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) streams[i].used = false;
      proxy_set_tick_period_milliseconds(0);
    }
    return leave(PAUSE);
  }
  if (!own_header("x-script-", &text, &size)) return leave(CONTINUE);
  struct stream *stream = stream_new(context, text, size);
  if (has_end) announce(QH, context, ARGUMENTS(headers, end));
  else announce(QH, context, ARGUMENTS(headers));
  return leave(perform(&stream->script, QH, context, end != 0));
}

#if ABI == 10
PW_EXPORT(proxy_on_request_headers) word on_request_headers(word context, word headers) {
  return request_headers(context, headers, 0, false);
}
PW_EXPORT(proxy_on_response_headers) word on_response_headers(word context, word headers) {
  return on_stream(PH, context, ARGUMENTS(headers), false, CONTINUE);
}
#else
PW_EXPORT(proxy_on_request_headers) word on_request_headers(word context, word headers, word end) {
  return request_headers(context, headers, end, true);
}
PW_EXPORT(proxy_on_response_headers) word on_response_headers(word context, word headers, word end) {
  return on_stream(PH, context, ARGUMENTS(headers, end), end != 0, CONTINUE);
}
PW_EXPORT(proxy_on_foreign_function) void on_foreign_function(word context, word function, word size) {
  (void)context;
  on_root(FF, ARGUMENTS(function, size));
}
#endif
PW_EXPORT(proxy_on_request_body) word on_request_body(word context, word size, word end) {
  return on_stream(QB, context, ARGUMENTS(size, end), end != 0, CONTINUE);
}
PW_EXPORT(proxy_on_request_trailers) word on_request_trailers(word context, word count) {
  return on_stream(QT, context, ARGUMENTS(count), true, CONTINUE);
}
PW_EXPORT(proxy_on_response_body) word on_response_body(word context, word size, word end) {
  return on_stream(PB, context, ARGUMENTS(size, end), end != 0, CONTINUE);
}
PW_EXPORT(proxy_on_response_trailers) word on_response_trailers(word context, word count) {
  return on_stream(PT, context, ARGUMENTS(count), true, CONTINUE);
}

// Ends.

PW_EXPORT(proxy_on_done) word on_done(word context) {
  struct stream *stream = stream_of(context);
  if (stream == NULL) return 1;
  enter();
  announce(DONE, context, NULL, 0);
  // `return 2` in the script: not done yet.
  word result = perform(&stream->script, DONE, context, true);
  return leave(result == 2 ? 0 : 1);
}
PW_EXPORT(proxy_on_log) void on_log(word context) { on_stream(LOG, context, NULL, 0, true, 0); }
PW_EXPORT(proxy_on_delete) void on_delete(word context) {
  on_stream(DEL, context, NULL, 0, true, 0);
  struct stream *stream = stream_of(context);
  if (stream != NULL) stream->used = false;
}

// The root's callbacks. Tokens of calls are not journalled: a register holds what the call said, and `token` compares.

PW_EXPORT(proxy_on_tick) void on_tick(word context) {
  (void)context;
  on_root(TICK, NULL, 0);
}
static void on_call(enum kind kind, word token, const word *arguments, size_t count) {
  enter();
  put_text(labels[kind]);
  bool known = false;
  for (size_t i = 0; i < sizeof registers / sizeof *registers && !known; i++) {
    if (registers[i] != token) continue;
    put_text(" $");
    put_number(i);
    known = true;
  }
  if (!known) put_text(" $?");
  for (size_t i = 0; i < count; i++) {
    put_text(" ");
    put_number(arguments[i]);
  }
  put_text("\n");
  perform(&root_script, kind, root, false);
  leave(0);
}
PW_EXPORT(proxy_on_http_call_response) void on_http(word context, word token, word headers, word body, word trailers) {
  (void)context;
  on_call(HC, token, ARGUMENTS(headers, body, trailers));
}
PW_EXPORT(proxy_on_grpc_receive_initial_metadata) void on_initial(word context, word token, word count) {
  (void)context;
  on_call(GI, token, ARGUMENTS(count));
}
PW_EXPORT(proxy_on_grpc_receive) void on_message(word context, word token, word size) {
  (void)context;
  on_call(GM, token, ARGUMENTS(size));
}
PW_EXPORT(proxy_on_grpc_receive_trailing_metadata) void on_trailing(word context, word token, word count) {
  (void)context;
  on_call(GT, token, ARGUMENTS(count));
}
PW_EXPORT(proxy_on_grpc_close) void on_grpc_close(word context, word token, word status) {
  (void)context;
  on_call(GC, token, ARGUMENTS(status));
}
PW_EXPORT(proxy_on_queue_ready) void on_queue_ready(word context, word token) {
  (void)context;
  on_call(QR, token, NULL, 0);
}

// TCP.

static word to_script(word context, char **data, size_t size) {
  size_t line = 0;
  while (line < size && (*data)[line] != '\n') line++;
  if (line == size) return 0;
  stream_new(context, *data + 1, line - 1);
  *data += line + 1;
  return (word)(size - line - 1);
}

PW_EXPORT(proxy_on_new_connection) word on_new_connection(word context) {
  (void)context;
  if (root_script.size == 0) return CONTINUE;
  enter();
  // Only what the configuration says: the connection's script comes with its data.
  returned = CONTINUE;
  perform(&root_script, NC, context, false);
  return leave(returned);
}
PW_EXPORT(proxy_on_downstream_data) word on_downstream_data(word context, word size, word end) {
  struct stream *stream = stream_of(context);
  if (stream == NULL) {
    enter();
    char *data = NULL;
    size_t got = 0;
    proxy_get_buffer_bytes(2, 0, size, &data, &got);
    if (got > 0 && data[0] == 1) {
      size = to_script(context, &data, got);
      proxy_set_buffer_bytes(2, 0, got, data, size);
    } else if (got > 0 && data[0] == 2) {
      proxy_set_buffer_bytes(2, 0, got, journal, journal_size);
      if (got > 1 && data[1] == 'r') journal_size = 0, next_number = 0;
    }
    leave(0);
  }
  return on_stream(DD, context, ARGUMENTS(size, end), end != 0, CONTINUE);
}
PW_EXPORT(proxy_on_upstream_data) word on_upstream_data(word context, word size, word end) {
  return on_stream(UD, context, ARGUMENTS(size, end), end != 0, CONTINUE);
}
PW_EXPORT(proxy_on_downstream_connection_close) void on_downstream_close(word context, word peer) {
  on_stream(DC, context, ARGUMENTS(peer), true, 0);
}
PW_EXPORT(proxy_on_upstream_connection_close) void on_upstream_close(word context, word peer) {
  on_stream(UC, context, ARGUMENTS(peer), true, 0);
}
