// The few functions that Embedded Swift expects of a C library: a heap, memory moves, and randomness to seed its
// dictionaries with. Blocks come in powers of two and go back to a list of their size.

#include <stddef.h>
#include <stdint.h>

enum { SMALLEST = 5, CLASSES = 28, PAGE = 65536 };

struct block {
  uint32_t class;
  struct block *next; // while it is free
};

extern char __heap_base;
static uintptr_t top;
static struct block *unused[CLASSES];

// Blocks start at 16 bytes and the caller's memory 16 bytes into them, so that both are aligned.
static void *allocate(size_t size) {
  if (size > (1u << (CLASSES - 1)) - 16) return NULL;
  uint32_t class = SMALLEST;
  while ((1u << class) < size + 16) class++;
  struct block *block = unused[class];
  if (block != NULL) {
    unused[class] = block->next;
    return (char *)block + 16;
  }
  if (top == 0) top = ((uintptr_t)&__heap_base + 15) & ~(uintptr_t)15;
  uintptr_t end = top + (1u << class);
  uintptr_t limit = (uintptr_t)__builtin_wasm_memory_size(0) * PAGE;
  if (end > limit && __builtin_wasm_memory_grow(0, (end - limit + PAGE - 1) / PAGE) == (size_t)-1) return NULL;
  block = (struct block *)top;
  top = end;
  block->class = class;
  return (char *)block + 16;
}

__attribute__((export_name("proxy_on_memory_allocate"))) void *malloc(size_t size) { return allocate(size); }

int posix_memalign(void **memory, size_t alignment, size_t size) {
  if (alignment > 16) return 22; // EINVAL
  *memory = allocate(size);
  return *memory == NULL ? 12 : 0; // ENOMEM
}

void free(void *memory) {
  if (memory == NULL) return;
  struct block *block = (struct block *)((char *)memory - 16);
  block->next = unused[block->class];
  unused[block->class] = block;
}

void *memmove(void *to, const void *from, size_t size) {
  char *target = to;
  const char *source = from;
  if (target < source) {
    for (size_t i = 0; i < size; i++) target[i] = source[i];
  } else {
    for (size_t i = size; i > 0; i--) target[i - 1] = source[i - 1];
  }
  return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t size) { return memmove(to, from, size); }

void *memset(void *to, int value, size_t size) {
  char *target = to;
  for (size_t i = 0; i < size; i++) target[i] = (char)value;
  return to;
}

__attribute__((import_module("wasi_snapshot_preview1"), import_name("random_get"))) extern uint32_t
host_random(void *buffer, size_t size);

void arc4random_buf(void *buffer, size_t size) { host_random(buffer, size); }
