#define _GNU_SOURCE
#include "CBulkheadRing.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

uint64_t bh_monotonic_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

// The word lies in memory that two processes share, so these are not FUTEX_PRIVATE.
void bh_futex_wait(void *word, uint32_t expected, uint64_t timeout_ns) {
  struct timespec timeout = {.tv_sec = (time_t)(timeout_ns / 1000000000u), .tv_nsec = (long)(timeout_ns % 1000000000u)};
  syscall(SYS_futex, word, FUTEX_WAIT, expected, timeout_ns == 0 ? NULL : &timeout, NULL, 0);
}

void bh_futex_wake(void *word) { syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0); }

void bh_ring_doorbell(int doorbell) {
  uint64_t one = 1;
  ssize_t written;
  do {
    written = write(doorbell, &one, sizeof one);
  } while (written < 0 && errno == EINTR);
}
