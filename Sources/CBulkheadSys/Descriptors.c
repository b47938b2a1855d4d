// Errors, descriptors, memory, time and events.

#define _GNU_SOURCE
#include "CBulkheadSys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif

_Static_assert(BH_SEAL_SEAL == F_SEAL_SEAL, "seals");
_Static_assert(BH_SEAL_SHRINK == F_SEAL_SHRINK, "seals");
_Static_assert(BH_SEAL_GROW == F_SEAL_GROW, "seals");
_Static_assert(BH_SEAL_WRITE == F_SEAL_WRITE, "seals");
_Static_assert(BH_EPOLL_ADD == EPOLL_CTL_ADD, "epoll");
_Static_assert(BH_EPOLL_REMOVE == EPOLL_CTL_DEL, "epoll");
_Static_assert(BH_EPOLL_MODIFY == EPOLL_CTL_MOD, "epoll");

static int64_t result(int64_t value) { return value < 0 ? -(int64_t)errno : value; }

// MARK: errors

const char *bh_errno_name(int error) { return strerrorname_np(error); }
const char *bh_errno_text(int error) { return strerrordesc_np(error); }
const char *bh_signal_name(int signal) { return sigabbrev_np(signal); }

// MARK: test hook

// Per thread, so that tests which run at the same time do not meet.
static _Thread_local struct {
  char operation[48];
  int error;
  int skip;
} failure;

void bh_test_fail(const char *operation, int error, int skip) {
  failure.error = operation == NULL ? 0 : error;
  failure.skip = skip;
  if (operation != NULL) {
    strncpy(failure.operation, operation, sizeof(failure.operation) - 1);
    failure.operation[sizeof(failure.operation) - 1] = 0;
  }
}

int bh_test_failure(const char *operation) {
  if (failure.error == 0) return 0;
  if (strcmp(failure.operation, operation) != 0) return 0;
  if (failure.skip > 0) {
    failure.skip -= 1;
    return 0;
  }
  return failure.error;
}

// MARK: descriptors

int64_t bh_open(const char *path, int flags, unsigned mode) { return result(open(path, flags | O_CLOEXEC, mode)); }
// Linux closes the descriptor even where it answers EINTR: never repeated.
int64_t bh_close(int fd) { return result(close(fd)); }
int64_t bh_close_from(unsigned first) { return result(syscall(SYS_close_range, first, ~0U, 0)); }
int64_t bh_close_range(unsigned first, unsigned last) { return result(syscall(SYS_close_range, first, last, 0)); }
int64_t bh_close_on_exec_from(unsigned first) {
  // CLOSE_RANGE_CLOEXEC
  return result(syscall(SYS_close_range, first, ~0U, 4U));
}
int64_t bh_close_on_exec(int fd, int on) { return result(fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0)); }
int64_t bh_read(int fd, void *buffer, size_t count) { return result(read(fd, buffer, count)); }
int64_t bh_write(int fd, const void *buffer, size_t count) { return result(write(fd, buffer, count)); }
int64_t bh_pread(int fd, void *buffer, size_t count, int64_t offset) {
  return result(pread(fd, buffer, count, offset));
}
int64_t bh_pwrite(int fd, const void *bytes, size_t count, int64_t offset) {
  return result(pwrite(fd, bytes, count, offset));
}
int64_t bh_duplicate(int fd) { return result(fcntl(fd, F_DUPFD_CLOEXEC, 3)); }

int64_t bh_set_nonblocking(int fd, int on) {
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return -(int64_t)errno;
  return result(fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK));
}

int64_t bh_pipe(int descriptors[2], int flags) {
  if (pipe2(descriptors, O_CLOEXEC) < 0) return -(int64_t)errno;
  int64_t outcome = 0;
  if (flags & BH_PIPE_NONBLOCK_READ) outcome = bh_set_nonblocking(descriptors[0], 1);
  if (outcome >= 0 && (flags & BH_PIPE_NONBLOCK_WRITE)) outcome = bh_set_nonblocking(descriptors[1], 1);
  if (outcome < 0) {
    close(descriptors[0]);
    close(descriptors[1]);
    return outcome;
  }
  return 0;
}

int64_t bh_pipe_size(int fd, int bytes) { return result(fcntl(fd, F_SETPIPE_SZ, bytes)); }

int64_t bh_eventfd(void) { return result(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }

int64_t bh_file_size(int fd) {
  struct stat status;
  if (fstat(fd, &status) < 0) return -(int64_t)errno;
  return status.st_size;
}

int64_t bh_is_noexec(int fd) {
  struct statvfs status;
  if (fstatvfs(fd, &status) < 0) return -(int64_t)errno;
  return (status.f_flag & ST_NOEXEC) != 0;
}

int64_t bh_poll(int fd, short events, int timeout_milliseconds) {
  struct pollfd entry = {.fd = fd, .events = events};
  int count = poll(&entry, 1, timeout_milliseconds);
  if (count < 0) return -(int64_t)errno;
  return count == 0 ? 0 : (unsigned short)entry.revents;
}

// MARK: memory

int64_t bh_memfd(const char *name, uint64_t size, int seals) {
  int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
  // Kernels before 6.3 do not know the flag that takes the execute bit away.
  if (fd < 0 && errno == EINVAL) fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return -(int64_t)errno;
  if (size > INT64_MAX) {
    close(fd);
    return -EFBIG;
  }
  if (ftruncate(fd, (off_t)size) < 0 || (seals != 0 && fcntl(fd, F_ADD_SEALS, seals) < 0)) {
    int64_t error = -(int64_t)errno;
    close(fd);
    return error;
  }
  return fd;
}

int64_t bh_journal_memfd(const char *name) { return result(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING)); }

int64_t bh_seal(int fd, int seals) { return result(fcntl(fd, F_ADD_SEALS, seals)); }
int64_t bh_seals(int fd) { return result(fcntl(fd, F_GET_SEALS)); }

int64_t bh_map(int fd, size_t size, int writable, void **address) {
  void *mapped = mmap(NULL, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
  if (mapped == MAP_FAILED) return -(int64_t)errno;
  *address = mapped;
  return 0;
}

int64_t bh_unmap(void *address, size_t size) { return result(munmap(address, size)); }

// MARK: time and events

static uint64_t clock_nanoseconds(clockid_t clock) {
  struct timespec now = {0};
  clock_gettime(clock, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t bh_monotonic_nanoseconds(void) { return clock_nanoseconds(CLOCK_MONOTONIC); }
uint64_t bh_realtime_nanoseconds(void) { return clock_nanoseconds(CLOCK_REALTIME); }

int64_t bh_epoll_create(void) { return result(epoll_create1(EPOLL_CLOEXEC)); }

int64_t bh_epoll_control(int epoll, int operation, int fd, uint32_t events, uint64_t token) {
  struct epoll_event event = {.events = events, .data = {.u64 = token}};
  return result(epoll_ctl(epoll, operation, fd, &event));
}

int64_t bh_epoll_wait(int epoll, uint32_t *events, uint64_t *tokens, int room, int timeout_milliseconds) {
  struct epoll_event ready[64];
  if (room > 64) room = 64;
  int count = epoll_wait(epoll, ready, room, timeout_milliseconds);
  if (count < 0) return -(int64_t)errno;
  for (int index = 0; index < count; index++) {
    events[index] = ready[index].events;
    tokens[index] = ready[index].data.u64;
  }
  return count;
}

int64_t bh_signalfd(const int *signals, size_t count) {
  sigset_t set;
  sigemptyset(&set);
  for (size_t index = 0; index < count; index++) sigaddset(&set, signals[index]);
  int error = pthread_sigmask(SIG_BLOCK, &set, NULL);
  if (error != 0) return -error;
  return result(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

int64_t bh_signalfd_read(int fd, int32_t *sender) {
  struct signalfd_siginfo info;
  ssize_t count = read(fd, &info, sizeof(info));
  if (count < 0) return -(int64_t)errno;
  if (count != (ssize_t)sizeof(info)) return -EIO;
  *sender = (int32_t)info.ssi_pid;
  return (int64_t)info.ssi_signo;
}
