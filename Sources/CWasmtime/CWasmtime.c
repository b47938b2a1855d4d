// The interrupt that turns an endless loop in the guest into a trap with a backtrace. It is written in C because a signal
// handler may run at any instruction: nothing here allocates, locks or enters a language runtime.
#define _GNU_SOURCE
#include "CWasmtime.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

static _Atomic(wasm_engine_t *) interrupt_engine;
// 0 while no guest runs, else the number of the running call (never 0) in the low half and 1 in the high half.
static _Atomic uint64_t interrupt_running;
// Whether the running call was interrupted, for a host function that waits meanwhile.
static _Atomic uint32_t interrupt_pending;

#define RUNNING (UINT64_C(1) << 32)

// A signal sent with sigqueue and a value is meant for the callback of that number alone: it came too late where another
// one runs. One without a value (kill, pidfd_send_signal) is meant for whatever runs.
static void interrupt_handler(int number, siginfo_t *info, void *context) {
  (void)number;
  (void)context;
  int saved = errno;
  uint64_t running = atomic_load_explicit(&interrupt_running, memory_order_relaxed);
  wasm_engine_t *engine = atomic_load_explicit(&interrupt_engine, memory_order_acquire);
  uint32_t meant = info != NULL && info->si_code == SI_QUEUE ? (uint32_t)info->si_value.sival_int : 0;
  if (engine != NULL && running != 0 && (meant == 0 || meant == (uint32_t)running)) {
    atomic_store_explicit(&interrupt_pending, 1, memory_order_relaxed);
    wasmtime_engine_increment_epoch(engine);
  }
  errno = saved;
}

int bh_interrupt_install(wasm_engine_t *engine) {
  atomic_store_explicit(&interrupt_engine, engine, memory_order_release);
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = interrupt_handler;
  // The alternate stack that the library gives each thread: a guest at the end of its own stack can be interrupted too.
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  sigemptyset(&action.sa_mask);
  return sigaction(SIGUSR1, &action, NULL) == 0 ? 0 : errno;
}

void bh_interrupt_begin(uint32_t sequence) {
  atomic_store_explicit(&interrupt_pending, 0, memory_order_relaxed);
  atomic_signal_fence(memory_order_seq_cst);
  atomic_store_explicit(&interrupt_running, RUNNING | sequence, memory_order_relaxed);
  atomic_signal_fence(memory_order_seq_cst);
}

void bh_interrupt_end(void) {
  atomic_signal_fence(memory_order_seq_cst);
  atomic_store_explicit(&interrupt_running, 0, memory_order_relaxed);
}

int bh_interrupt_is_pending(void) { return atomic_load_explicit(&interrupt_pending, memory_order_relaxed) != 0; }
