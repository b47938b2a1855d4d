// The part of Wasmtime's C API that Bulkhead uses, declared in our own words: the release that we pin comes as a shared
// library without headers. What each function does is documented with Wasmtime's C API; the static asserts below pin
// the sizes that were measured against the library of that version.
#ifndef CWasmtime_h
#define CWasmtime_h

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The release that these declarations were checked against.
#define BH_WASMTIME_VERSION "50.0.1"

#ifdef __cplusplus
extern "C" {
#endif

// --- Objects that only the library looks into ---

typedef struct wasm_config_t wasm_config_t;
typedef struct wasm_engine_t wasm_engine_t;
typedef struct wasm_trap_t wasm_trap_t;
typedef struct wasm_frame_t wasm_frame_t;
typedef struct wasm_valtype_t wasm_valtype_t;
typedef struct wasm_functype_t wasm_functype_t;
typedef struct wasm_externtype_t wasm_externtype_t;
typedef struct wasm_importtype_t wasm_importtype_t;
typedef struct wasm_exporttype_t wasm_exporttype_t;
typedef struct wasm_memorytype_t wasm_memorytype_t;
typedef struct wasmtime_error wasmtime_error_t;
typedef struct wasmtime_module wasmtime_module_t;
typedef struct wasmtime_store wasmtime_store_t;
typedef struct wasmtime_context wasmtime_context_t;
typedef struct wasmtime_caller wasmtime_caller_t;
typedef struct wasmtime_linker wasmtime_linker_t;
typedef struct wasmtime_instance_pre wasmtime_instance_pre_t;

// --- Vectors: a count and a pointer; those that the library fills in are given back with their `_delete` ---

#define BH_VECTOR(name, element)                                                                                       \
  typedef struct {                                                                                                     \
    size_t size;                                                                                                       \
    element *data;                                                                                                     \
  } name

BH_VECTOR(wasm_byte_vec_t, char);
typedef wasm_byte_vec_t wasm_name_t;
BH_VECTOR(wasm_valtype_vec_t, wasm_valtype_t *);
BH_VECTOR(wasm_importtype_vec_t, wasm_importtype_t *);
BH_VECTOR(wasm_exporttype_vec_t, wasm_exporttype_t *);
BH_VECTOR(wasm_frame_vec_t, wasm_frame_t *);

// --- Values and references ---

// One argument or result of an unchecked call; which member counts is a matter of the function's type.
typedef union {
  int32_t i32;
  int64_t i64;
  float f32;
  double f64;
  uint8_t v128[16];
  void *funcref;
  uint64_t alignment;
} wasmtime_val_raw_t;

typedef struct {
  uint64_t store_id;
  void *opaque;
} wasmtime_func_t;

typedef struct {
  struct {
    uint64_t store_id;
    uint32_t opaque;
  } first;
  uint32_t second;
} wasmtime_memory_t;

typedef struct {
  uint64_t store_id;
  size_t opaque;
} wasmtime_instance_t;

enum { BH_EXTERN_FUNC = 0, BH_EXTERN_GLOBAL = 1, BH_EXTERN_TABLE = 2, BH_EXTERN_MEMORY = 3 };

typedef struct {
  uint8_t kind; // BH_EXTERN_*
  union {
    wasmtime_func_t func;
    wasmtime_memory_t memory;
    uint8_t bytes[24];
  } of;
} wasmtime_extern_t;

_Static_assert(sizeof(wasmtime_val_raw_t) == 16, "val_raw");
_Static_assert(sizeof(wasmtime_func_t) == 16, "func");
_Static_assert(sizeof(wasmtime_memory_t) == 24, "memory");
_Static_assert(sizeof(wasmtime_instance_t) == 16, "instance");
_Static_assert(sizeof(wasmtime_extern_t) == 32, "extern");
_Static_assert(offsetof(wasmtime_extern_t, of) == 8, "extern");

// --- Engine ---

wasm_config_t *wasm_config_new(void);
void wasmtime_config_epoch_interruption_set(wasm_config_t *config, bool on);
void wasmtime_config_parallel_compilation_set(wasm_config_t *config, bool on);
void wasmtime_config_max_wasm_stack_set(wasm_config_t *config, size_t bytes);
void wasmtime_config_shared_memory_set(wasm_config_t *config, bool on);
void wasmtime_config_wasm_memory64_set(wasm_config_t *config, bool on);
void wasmtime_config_wasm_multi_memory_set(wasm_config_t *config, bool on);
void wasmtime_config_wasm_tail_call_set(wasm_config_t *config, bool on);
void wasmtime_config_wasm_exceptions_set(wasm_config_t *config, bool on);
void wasmtime_config_wasm_function_references_set(wasm_config_t *config, bool on);
void wasmtime_config_wasm_gc_set(wasm_config_t *config, bool on);
void wasmtime_config_wasm_relaxed_simd_set(wasm_config_t *config, bool on);
void wasmtime_config_wasm_wide_arithmetic_set(wasm_config_t *config, bool on);
void wasmtime_config_wasm_custom_page_sizes_set(wasm_config_t *config, bool on);
void wasmtime_config_wasm_stack_switching_set(wasm_config_t *config, bool on);
// Whether instances get their first memory as a copy-on-write mapping of the module's file.
void wasmtime_config_memory_init_cow_set(wasm_config_t *config, bool on);
// Takes the configuration over.
wasm_engine_t *wasm_engine_new_with_config(wasm_config_t *config);
void wasm_engine_delete(wasm_engine_t *engine);
// Safe in a signal handler: one atomic addition.
void wasmtime_engine_increment_epoch(wasm_engine_t *engine);

// --- Errors and traps ---

void wasmtime_error_message(const wasmtime_error_t *error, wasm_name_t *message);
void wasmtime_error_wasm_trace(const wasmtime_error_t *error, wasm_frame_vec_t *out);
void wasmtime_error_delete(wasmtime_error_t *error);
wasm_trap_t *wasmtime_trap_new(const char *message, size_t length);
bool wasmtime_trap_code(const wasm_trap_t *trap, uint8_t *code);
void wasm_trap_message(const wasm_trap_t *trap, wasm_byte_vec_t *message);
void wasm_trap_trace(const wasm_trap_t *trap, wasm_frame_vec_t *out);
void wasm_trap_delete(wasm_trap_t *trap);
const wasm_name_t *wasmtime_frame_func_name(const wasm_frame_t *frame);
uint32_t wasm_frame_func_index(const wasm_frame_t *frame);
size_t wasm_frame_module_offset(const wasm_frame_t *frame);
void wasm_frame_vec_delete(wasm_frame_vec_t *frames);
void wasm_byte_vec_delete(wasm_byte_vec_t *bytes);

// --- Types ---

// Kinds of values.
enum { BH_VALUE_I32 = 0, BH_VALUE_I64 = 1, BH_VALUE_F32 = 2, BH_VALUE_F64 = 3 };
wasm_valtype_t *wasm_valtype_new(uint8_t kind);
uint8_t wasm_valtype_kind(const wasm_valtype_t *type);
void wasm_valtype_vec_new(wasm_valtype_vec_t *out, size_t count, wasm_valtype_t *const *types);
// Takes both vectors over.
wasm_functype_t *wasm_functype_new(wasm_valtype_vec_t *parameters, wasm_valtype_vec_t *results);
const wasm_valtype_vec_t *wasm_functype_params(const wasm_functype_t *type);
const wasm_valtype_vec_t *wasm_functype_results(const wasm_functype_t *type);
void wasm_functype_delete(wasm_functype_t *type);
// BH_EXTERN_*.
uint8_t wasm_externtype_kind(const wasm_externtype_t *type);
const wasm_functype_t *wasm_externtype_as_functype_const(const wasm_externtype_t *type);
const wasm_memorytype_t *wasm_externtype_as_memorytype_const(const wasm_externtype_t *type);
bool wasmtime_memorytype_isshared(const wasm_memorytype_t *type);
// In pages.
uint64_t wasmtime_memorytype_minimum(const wasm_memorytype_t *type);
uint64_t wasmtime_memorytype_page_size(const wasm_memorytype_t *type);
const wasm_name_t *wasm_importtype_module(const wasm_importtype_t *type);
const wasm_name_t *wasm_importtype_name(const wasm_importtype_t *type);
const wasm_externtype_t *wasm_importtype_type(const wasm_importtype_t *type);
void wasm_importtype_vec_delete(wasm_importtype_vec_t *types);
const wasm_name_t *wasm_exporttype_name(const wasm_exporttype_t *type);
const wasm_externtype_t *wasm_exporttype_type(const wasm_exporttype_t *type);
void wasm_exporttype_vec_delete(wasm_exporttype_vec_t *types);

// --- Modules ---

wasmtime_error_t *wasmtime_module_new(wasm_engine_t *engine, const uint8_t *wasm, size_t length,
                                      wasmtime_module_t **module);
wasmtime_error_t *wasmtime_module_serialize(const wasmtime_module_t *module, wasm_byte_vec_t *bytes);
wasmtime_error_t *wasmtime_module_deserialize(wasm_engine_t *engine, const uint8_t *bytes, size_t length,
                                              wasmtime_module_t **module);
wasmtime_error_t *wasmtime_module_deserialize_file(wasm_engine_t *engine, const char *path,
                                                   wasmtime_module_t **module);
void wasmtime_module_imports(const wasmtime_module_t *module, wasm_importtype_vec_t *out);
void wasmtime_module_exports(const wasmtime_module_t *module, wasm_exporttype_vec_t *out);
void wasmtime_module_delete(wasmtime_module_t *module);
wasmtime_error_t *wasmtime_wat2wasm(const char *text, size_t length, wasm_byte_vec_t *wasm);

// --- Stores, linking, instances ---

wasmtime_store_t *wasmtime_store_new(wasm_engine_t *engine, void *data, void (*finalizer)(void *));
wasmtime_context_t *wasmtime_store_context(wasmtime_store_t *store);
// A negative bound leaves the library's own.
void wasmtime_store_limiter(wasmtime_store_t *store, int64_t memory_bytes, int64_t table_elements, int64_t instances,
                            int64_t tables, int64_t memories);
void wasmtime_store_delete(wasmtime_store_t *store);
void wasmtime_context_set_epoch_deadline(wasmtime_context_t *context, uint64_t ticks_beyond_current);

// A host function: the arguments are read from `values`, the results written there. A trap that it returns is taken
// over and ends the guest's call.
typedef wasm_trap_t *(*wasmtime_func_unchecked_callback_t)(void *data, wasmtime_caller_t *caller,
                                                           wasmtime_val_raw_t *values, size_t count);
wasmtime_context_t *wasmtime_caller_context(wasmtime_caller_t *caller);
wasmtime_linker_t *wasmtime_linker_new(wasm_engine_t *engine);
void wasmtime_linker_delete(wasmtime_linker_t *linker);
wasmtime_error_t *wasmtime_linker_define_func_unchecked(wasmtime_linker_t *linker, const char *module,
                                                        size_t module_length, const char *name, size_t name_length,
                                                        const wasm_functype_t *type,
                                                        wasmtime_func_unchecked_callback_t callback, void *data,
                                                        void (*finalizer)(void *));
wasmtime_error_t *wasmtime_linker_instantiate_pre(const wasmtime_linker_t *linker, const wasmtime_module_t *module,
                                                  wasmtime_instance_pre_t **pre);
wasmtime_error_t *wasmtime_instance_pre_instantiate(const wasmtime_instance_pre_t *pre, wasmtime_context_t *context,
                                                    wasmtime_instance_t *instance, wasm_trap_t **trap);
void wasmtime_instance_pre_delete(wasmtime_instance_pre_t *pre);
bool wasmtime_instance_export_get(wasmtime_context_t *context, const wasmtime_instance_t *instance, const char *name,
                                  size_t name_length, wasmtime_extern_t *item);
void wasmtime_extern_delete(wasmtime_extern_t *item);
wasm_functype_t *wasmtime_func_type(const wasmtime_context_t *context, const wasmtime_func_t *func);
void wasmtime_func_new_unchecked(wasmtime_context_t *context, const wasm_functype_t *type,
                                 wasmtime_func_unchecked_callback_t callback, void *data, void (*finalizer)(void *),
                                 wasmtime_func_t *func);
wasmtime_error_t *wasmtime_func_call_unchecked(wasmtime_context_t *context, const wasmtime_func_t *func,
                                               wasmtime_val_raw_t *values, size_t count, wasm_trap_t **trap);
uint8_t *wasmtime_memory_data(wasmtime_context_t *context, const wasmtime_memory_t *memory);
size_t wasmtime_memory_data_size(const wasmtime_context_t *context, const wasmtime_memory_t *memory);

// --- Interrupting the guest from a signal handler; see CWasmtime.c ---

// Installs the handler of SIGUSR1 that interrupts calls into guests of `engine`. One engine a process.
// Returns 0 or an errno.
int bh_interrupt_install(wasm_engine_t *engine);
// A call into the guest begins, or has ended: only between the two does a signal interrupt anything.
void bh_interrupt_begin(uint32_t sequence);
void bh_interrupt_end(void);
// Whether a signal has interrupted the call that runs now: it traps as soon as it is back in the guest.
int bh_interrupt_is_pending(void);

#ifdef __cplusplus
}
#endif

#endif
