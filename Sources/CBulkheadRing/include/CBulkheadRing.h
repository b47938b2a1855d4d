// The layout of a channel's shared memory, and the atomic accesses to it. Swift reads and writes the pages at the BH_...
// offsets below, which the compiler takes from the structs. After an upgrade the new supervisor reads pages of workers of
// the build before, so the structs must not change by accident: a static assert states every size and offset.
//
// The memfd of one worker:
//   page 0                     bh_worker_page    words that the fronts' event loops and the worker share
//   page 1                     bh_status_page    written by the worker alone
//   then, for each event loop: bh_cursor_page, callback ring, reply ring, answer ring
#ifndef CBulkheadRing_h
#define CBulkheadRing_h

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define BH_PAGE 4096
#define BH_CACHE_LINE 64

// The worker's sleep word, a futex: 0 awake, 1 asleep or about to be. Then what the supervisor writes there: the least
// level of log that it takes by now, plus one; 0 while that is the bootstrap's.
typedef struct {
  _Alignas(BH_CACHE_LINE) uint32_t worker_asleep;
  _Alignas(BH_CACHE_LINE) uint32_t log_level;
  uint8_t padding[BH_PAGE - BH_CACHE_LINE - sizeof(uint32_t)];
} bh_worker_page;

enum {
  BH_WORKER_ASLEEP = offsetof(bh_worker_page, worker_asleep),
  BH_WORKER_LOG_LEVEL = offsetof(bh_worker_page, log_level),
  BH_WORKER_PAGE_BYTES = sizeof(bh_worker_page),
};

// What the worker is doing. `version` is odd while the worker writes. A reader must not trust any of it: a hostile worker
// writes what it likes.
typedef struct {
  _Alignas(BH_CACHE_LINE) uint32_t version;
  uint16_t callback;   // CallbackKind, 0 when idle
  uint16_t event_loop; // whose record it is
  uint32_t stream;
  uint32_t reserved;
  uint64_t sequence;   // of the record, 0 outside one
  uint64_t started_ns; // CLOCK_MONOTONIC
  uint64_t callbacks;  // how many were finished
  uint64_t memory_bytes; // the guest's linear memory
  uint64_t sleeps;       // how often the worker went to sleep
  uint64_t dropped_log_lines;
  uint8_t padding[BH_PAGE - 64];
} bh_status_page;

enum {
  BH_STATUS_VERSION = offsetof(bh_status_page, version),
  BH_STATUS_CALLBACK = offsetof(bh_status_page, callback),
  BH_STATUS_EVENT_LOOP = offsetof(bh_status_page, event_loop),
  BH_STATUS_STREAM = offsetof(bh_status_page, stream),
  BH_STATUS_SEQUENCE = offsetof(bh_status_page, sequence),
  BH_STATUS_STARTED_NS = offsetof(bh_status_page, started_ns),
  BH_STATUS_CALLBACKS = offsetof(bh_status_page, callbacks),
  BH_STATUS_MEMORY_BYTES = offsetof(bh_status_page, memory_bytes),
  BH_STATUS_SLEEPS = offsetof(bh_status_page, sleeps),
  BH_STATUS_DROPPED_LOG_LINES = offsetof(bh_status_page, dropped_log_lines),
  // The bytes of the page that hold something.
  BH_STATUS_BYTES = offsetof(bh_status_page, padding),
  BH_STATUS_PAGE_BYTES = sizeof(bh_status_page),
};

// Free-running byte cursors of the three rings, each written by one side only, and the loop's sleep word.
typedef struct {
  _Alignas(BH_CACHE_LINE) uint32_t callbacks_tail; // front
  _Alignas(BH_CACHE_LINE) uint32_t callbacks_head; // worker
  _Alignas(BH_CACHE_LINE) uint32_t replies_tail;   // worker
  _Alignas(BH_CACHE_LINE) uint32_t replies_head;   // front
  _Alignas(BH_CACHE_LINE) uint32_t answers_tail;   // front
  _Alignas(BH_CACHE_LINE) uint32_t answers_head;   // worker
  // 1: the loop sleeps in its selector and wants its doorbell rung.
  _Alignas(BH_CACHE_LINE) uint32_t loop_asleep;
  // Records that begin a stream, up to this sequence, are not to be begun any more; written by the front.
  _Alignas(BH_CACHE_LINE) uint64_t revoked;
  uint8_t padding[BH_PAGE - 7 * BH_CACHE_LINE - sizeof(uint64_t)];
} bh_cursor_page;

enum {
  BH_CALLBACKS_TAIL = offsetof(bh_cursor_page, callbacks_tail),
  BH_CALLBACKS_HEAD = offsetof(bh_cursor_page, callbacks_head),
  BH_REPLIES_TAIL = offsetof(bh_cursor_page, replies_tail),
  BH_REPLIES_HEAD = offsetof(bh_cursor_page, replies_head),
  BH_ANSWERS_TAIL = offsetof(bh_cursor_page, answers_tail),
  BH_ANSWERS_HEAD = offsetof(bh_cursor_page, answers_head),
  BH_LOOP_ASLEEP = offsetof(bh_cursor_page, loop_asleep),
  BH_REVOKED = offsetof(bh_cursor_page, revoked),
  BH_CURSOR_PAGE_BYTES = sizeof(bh_cursor_page),
};

// What stands before each record of a ring: its length in bytes. Records begin at multiples of BH_RECORD_ALIGNMENT.
typedef uint32_t bh_record_head;

enum {
  BH_RECORD_HEAD = sizeof(bh_record_head),
  BH_RECORD_ALIGNMENT = 8,
};

_Static_assert(sizeof(bh_worker_page) == BH_PAGE, "worker page");
_Static_assert(sizeof(bh_status_page) == BH_PAGE, "status page");
_Static_assert(sizeof(bh_cursor_page) == BH_PAGE, "cursor page");
_Static_assert(offsetof(bh_worker_page, worker_asleep) == 0, "worker layout");
_Static_assert(offsetof(bh_worker_page, log_level) == 64, "worker layout");
_Static_assert(offsetof(bh_status_page, version) == 0, "status layout");
_Static_assert(offsetof(bh_status_page, callback) == 4, "status layout");
_Static_assert(offsetof(bh_status_page, event_loop) == 6, "status layout");
_Static_assert(offsetof(bh_status_page, stream) == 8, "status layout");
_Static_assert(offsetof(bh_status_page, sequence) == 16, "status layout");
_Static_assert(offsetof(bh_status_page, started_ns) == 24, "status layout");
_Static_assert(offsetof(bh_status_page, callbacks) == 32, "status layout");
_Static_assert(offsetof(bh_status_page, memory_bytes) == 40, "status layout");
_Static_assert(offsetof(bh_status_page, sleeps) == 48, "status layout");
_Static_assert(offsetof(bh_status_page, dropped_log_lines) == 56, "status layout");
_Static_assert(offsetof(bh_status_page, padding) == 64, "status layout");
_Static_assert(offsetof(bh_cursor_page, callbacks_tail) == 0, "cursor layout");
_Static_assert(offsetof(bh_cursor_page, callbacks_head) == 64, "cursor layout");
_Static_assert(offsetof(bh_cursor_page, replies_tail) == 128, "cursor layout");
_Static_assert(offsetof(bh_cursor_page, replies_head) == 192, "cursor layout");
_Static_assert(offsetof(bh_cursor_page, answers_tail) == 256, "cursor layout");
_Static_assert(offsetof(bh_cursor_page, answers_head) == 320, "cursor layout");
_Static_assert(offsetof(bh_cursor_page, loop_asleep) == 384, "cursor layout");
_Static_assert(offsetof(bh_cursor_page, revoked) == 448, "cursor layout");

static inline uint32_t bh_load_acquire(const void *word) {
  return __atomic_load_n((const uint32_t *)word, __ATOMIC_ACQUIRE);
}
static inline uint32_t bh_load_relaxed(const void *word) {
  return __atomic_load_n((const uint32_t *)word, __ATOMIC_RELAXED);
}
static inline void bh_store_release(void *word, uint32_t value) {
  __atomic_store_n((uint32_t *)word, value, __ATOMIC_RELEASE);
}
static inline void bh_store_seq(void *word, uint32_t value) {
  __atomic_store_n((uint32_t *)word, value, __ATOMIC_SEQ_CST);
}
static inline uint32_t bh_exchange_seq(void *word, uint32_t value) {
  return __atomic_exchange_n((uint32_t *)word, value, __ATOMIC_SEQ_CST);
}
// Orders the publication of a cursor before the look at the other side's sleep word, and the other way round.
static inline void bh_fence_seq(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
static inline void bh_fence_release(void) { __atomic_thread_fence(__ATOMIC_RELEASE); }
static inline void bh_fence_acquire(void) { __atomic_thread_fence(__ATOMIC_ACQUIRE); }
static inline uint64_t bh_load64_relaxed(const void *word) {
  return __atomic_load_n((const uint64_t *)word, __ATOMIC_RELAXED);
}
static inline void bh_store64_relaxed(void *word, uint64_t value) {
  __atomic_store_n((uint64_t *)word, value, __ATOMIC_RELAXED);
}
static inline uint16_t bh_load16_relaxed(const void *word) {
  return __atomic_load_n((const uint16_t *)word, __ATOMIC_RELAXED);
}
static inline void bh_store16_relaxed(void *word, uint16_t value) {
  __atomic_store_n((uint16_t *)word, value, __ATOMIC_RELAXED);
}
static inline void bh_cpu_relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

// CLOCK_MONOTONIC in nanoseconds.
uint64_t bh_monotonic_ns(void);
// Sleeps while the word is `expected`, at most `timeout_ns` (0: without end). Returns at once on a wake, a signal, the
// timeout or another value; the caller looks again whatever the cause.
void bh_futex_wait(void *word, uint32_t expected, uint64_t timeout_ns);
// Wakes one sleeper.
void bh_futex_wake(void *word);
// Rings a doorbell: writes 8 bytes to a pipe's write end, which does not block: one that is full has been rung.
void bh_ring_doorbell(int doorbell);

#endif
