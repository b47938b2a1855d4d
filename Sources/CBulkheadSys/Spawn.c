// Starting, signalling and reaping processes.

#define _GNU_SOURCE
#include "CBulkheadSys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#define BH_CLOSE_RANGE_CLOEXEC 4U
#define BH_CLONE_INTO_CGROUP 0x200000000ULL
#define BH_P_PIDFD 3

_Static_assert(BH_NAMESPACE_MOUNT == CLONE_NEWNS, "namespaces");
_Static_assert(BH_NAMESPACE_UTS == CLONE_NEWUTS, "namespaces");
_Static_assert(BH_NAMESPACE_IPC == CLONE_NEWIPC, "namespaces");
_Static_assert(BH_NAMESPACE_USER == CLONE_NEWUSER, "namespaces");
_Static_assert(BH_NAMESPACE_PID == CLONE_NEWPID, "namespaces");
_Static_assert(BH_NAMESPACE_NETWORK == CLONE_NEWNET, "namespaces");
_Static_assert(BH_EXITED == CLD_EXITED, "wait codes");
_Static_assert(BH_KILLED == CLD_KILLED, "wait codes");
_Static_assert(BH_DUMPED == CLD_DUMPED, "wait codes");

static int64_t result(int64_t value) { return value < 0 ? -(int64_t)errno : value; }

struct failure {
  int32_t step;
  int32_t error;
};

/// What the child needs beside the request.
struct child {
  const struct bh_spawn *request;
  int failure_write;
  int release_read;
  int release_write;
};

// In the child only system calls run until exec: another thread of the parent may have held any lock at the clone.

static void child_fail(int failure_write, int step, int error) __attribute__((noreturn));
static void child_fail(int failure_write, int step, int error) {
  struct failure failure = {.step = step, .error = error};
  while (syscall(SYS_write, failure_write, &failure, sizeof(failure)) < 0 && errno == EINTR) {
  }
  for (;;) syscall(SYS_exit_group, 127);
}

/// Lets nobody make a user namespace inside the child's own: whoever makes one has every right in it, and with them the
/// larger part of the kernel to try. 0 or the errno.
static int forbid_user_namespaces(const struct bh_spawn *request) {
  if (request->fail_step == BH_SPAWN_USER_NAMESPACES) return request->fail_error;
  // The file is the bound of the namespace that opens it.
  int fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/sys/user/max_user_namespaces", O_WRONLY | O_CLOEXEC, 0);
  if (fd < 0) return errno;
  int error = syscall(SYS_write, fd, "0", 1) == 1 ? 0 : errno;
  syscall(SYS_close, fd);
  return error;
}

/// Lets others have the processors first. Where each session is a group of its own to the scheduler, it is the group that
/// has to be told; nothing depends on it, so that a kernel that refuses is left alone.
static void give_way(int niceness) {
  syscall(SYS_setpriority, PRIO_PROCESS, 0, niceness);
  int fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/autogroup", O_WRONLY | O_CLOEXEC, 0);
  if (fd < 0) return;
  // Without a leading zero, which the kernel takes for octal.
  char digits[2] = {(char)('0' + niceness / 10), (char)('0' + niceness % 10)};
  int skipped = niceness < 10;
  syscall(SYS_write, fd, digits + skipped, sizeof(digits) - (size_t)skipped);
  syscall(SYS_close, fd);
}

static void child_run(struct child child) __attribute__((noreturn));
static void child_run(struct child child) {
  const struct bh_spawn *request = child.request;
  int failure_write = child.failure_write;
#define STEP(step, condition)                                                        \
  do {                                                                               \
    if (request->fail_step == (step)) child_fail(failure_write, step, request->fail_error); \
    if (!(condition)) child_fail(failure_write, step, errno);                        \
  } while (0)

  // All signals are blocked since before the clone. Handlers of the parent must never run here, and what the parent
  // ignored must not stay ignored after exec. The kernel's sigaction of zeros is "default, no flags, empty mask".
  uint64_t zeros[8] = {0};
  for (int signal = 1; signal <= 64; signal++) {
    if (signal != SIGKILL && signal != SIGSTOP) syscall(SYS_rt_sigaction, signal, zeros, NULL, 8);
  }
  STEP(BH_SPAWN_SIGNALS, syscall(SYS_rt_sigprocmask, SIG_SETMASK, zeros, NULL, 8) == 0);

  STEP(BH_SPAWN_DEATH_SIGNAL,
       request->death_signal == 0 || syscall(SYS_prctl, PR_SET_PDEATHSIG, request->death_signal, 0, 0, 0) == 0);

  // The parent lets go once the maps are written. End-of-file instead is a parent that died before the death signal
  // was armed, which is why every child waits, maps or not.
  syscall(SYS_close, child.release_write);
  char byte = 0;
  long count;
  do {
    count = syscall(SYS_read, child.release_read, &byte, 1);
  } while (count < 0 && errno == EINTR);
  if (count == 0) errno = ECHILD;
  STEP(BH_SPAWN_RELEASE, count == 1);

  if ((request->namespaces & CLONE_NEWUSER) != 0) {
    int error = forbid_user_namespaces(request);
    // Not the end of it: the parent reads on, and the child has another way.
    struct failure note = {.step = BH_SPAWN_USER_NAMESPACES, .error = error};
    if (error != 0) syscall(SYS_write, failure_write, &note, sizeof(note));
  }

  STEP(BH_SPAWN_SESSION, syscall(SYS_setsid) >= 0);
  if (request->niceness > 0) give_way(request->niceness);
  // A child that keeps no directory keeps no mount busy.
  STEP(BH_SPAWN_DIRECTORY, syscall(SYS_chdir, "/") == 0);

  // First every source above the table, then each into its number: so no dup2 overwrites a source still to come.
  int table = (int)request->descriptor_count;
  int sources[512];
  if (request->descriptor_count > sizeof(sources) / sizeof(sources[0])) {
    child_fail(failure_write, BH_SPAWN_DESCRIPTORS, E2BIG);
  }
  if (failure_write < table) {
    int moved = (int)syscall(SYS_fcntl, failure_write, F_DUPFD_CLOEXEC, table);
    STEP(BH_SPAWN_DESCRIPTORS, moved >= 0);
    failure_write = moved;
  }
  for (int index = 0; index < table; index++) {
    sources[index] = (int)syscall(SYS_fcntl, request->descriptors[index], F_DUPFD_CLOEXEC, table);
    STEP(BH_SPAWN_DESCRIPTORS, sources[index] >= 0);
  }
  int image = request->image;
  if (image >= 0) {
    image = (int)syscall(SYS_fcntl, image, F_DUPFD_CLOEXEC, table);
    STEP(BH_SPAWN_DESCRIPTORS, image >= 0);
  }
  for (int index = 0; index < table; index++) {
    STEP(BH_SPAWN_DESCRIPTORS, syscall(SYS_dup3, sources[index], index, 0) == index);
  }
  // Marked rather than closed, for the failure pipe has to outlive everything but a successful exec.
  STEP(BH_SPAWN_CLOSE, syscall(SYS_close_range, (unsigned)table, ~0U, BH_CLOSE_RANGE_CLOEXEC) == 0);

  if (image >= 0) {
    STEP(BH_SPAWN_EXEC, syscall(SYS_execveat, image, "", request->argv, request->envp, AT_EMPTY_PATH) == 0);
  }
  STEP(BH_SPAWN_EXEC, syscall(SYS_execve, request->path, request->argv, request->envp) == 0);
  child_fail(failure_write, BH_SPAWN_EXEC, ENOEXEC);
#undef STEP
}

static int64_t write_whole(int fd, const char *text) {
  size_t length = strlen(text);
  ssize_t count;
  do {
    count = write(fd, text, length);
  } while (count < 0 && errno == EINTR);
  return count < 0 ? -(int64_t)errno : (size_t)count == length ? 0 : -EIO;
}

/// Writes a whole file of `/proc/PID` in one write, as the maps demand.
static int64_t write_proc(int pid, const char *name, const char *text) {
  char path[64];
  snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -(int64_t)errno;
  int64_t outcome = write_whole(fd, text);
  close(fd);
  return outcome;
}

static int64_t write_maps(const struct bh_spawn *request, int pid, int *failed_step) {
  if ((request->namespaces & CLONE_NEWUSER) == 0) return 0;
  struct {
    int step;
    const char *name;
    const char *text;
  } files[] = {
      {BH_SPAWN_SETGROUPS, "setgroups", request->deny_setgroups ? "deny" : NULL},
      {BH_SPAWN_UID_MAP, "uid_map", request->uid_map},
      {BH_SPAWN_GID_MAP, "gid_map", request->gid_map},
  };
  for (size_t index = 0; index < sizeof(files) / sizeof(files[0]); index++) {
    if (files[index].text == NULL) continue;
    *failed_step = files[index].step;
    if (request->fail_step == files[index].step) return -request->fail_error;
    int64_t outcome = write_proc(pid, files[index].name, files[index].text);
    if (outcome < 0) return outcome;
  }
  *failed_step = BH_SPAWN_NONE;
  return 0;
}

static void kill_and_reap(int pidfd) {
  syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
  int code, status;
  while (bh_wait(pidfd, 1, &code, &status) == -EINTR) {
  }
}

/// What the kernel looks at of clone3's arguments since it knows control groups; headers may be older.
struct clone_arguments {
  uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

/// A child that is a copy of this process, with its pidfd; 0 in the child.
///
/// `cgroup` is -1, or the control group to be born into; `*in_cgroup` says whether it was. Born into it costs nothing;
/// moved there later, the kernel waits until no process of the machine is being started.
static long clone_process(uint64_t namespaces, int cgroup, int *pidfd, int *in_cgroup, int fail_error) {
  struct clone_arguments arguments;
  memset(&arguments, 0, sizeof(arguments));
  arguments.flags = CLONE_PIDFD | namespaces;
  arguments.pidfd = (uint64_t)(uintptr_t)pidfd;
  arguments.exit_signal = SIGCHLD;
  if (fail_error != 0) {
    errno = fail_error;
  } else {
    if (cgroup >= 0) {
      arguments.flags |= BH_CLONE_INTO_CGROUP;
      arguments.cgroup = (uint64_t)cgroup;
      // Set before, for parent and child both read it afterwards.
      *in_cgroup = 1;
      long pid = syscall(SYS_clone3, &arguments, sizeof(arguments));
      if (pid >= 0) return pid;
      arguments.flags &= ~BH_CLONE_INTO_CGROUP;
      arguments.cgroup = 0;
    }
    *in_cgroup = 0;
    long pid = syscall(SYS_clone3, &arguments, sizeof(arguments));
    if (pid >= 0) return pid;
  }
  // Container runtimes pretend that clone3 is missing, for they cannot filter its flags.
  if (errno != ENOSYS) return -1;
  return syscall(SYS_clone, CLONE_PIDFD | namespaces | SIGCHLD, NULL, pidfd, 0, 0);
}

/// Puts the child where its memory and its processor time are counted; 0 or the negated errno.
static int64_t place(const struct bh_spawn *request, int pid, int in_cgroup) {
  if (request->fail_step == BH_SPAWN_CGROUP) return -request->fail_error;
  char text[16];
  snprintf(text, sizeof(text), "%d", pid);
  // Other hierarchies know nothing of where the child was born.
  for (size_t index = in_cgroup ? request->cgroup_own_files : 0; index < request->cgroup_file_count; index++) {
    int64_t outcome = write_whole(request->cgroup_files[index], text);
    if (outcome < 0) return outcome;
  }
  return 0;
}

/// What the parent does for a child that waits: its maps, its control group, its score.
static int64_t prepare(const struct bh_spawn *request, int pid, int in_cgroup, struct bh_spawned *spawned) {
  int64_t outcome = write_maps(request, pid, &spawned->failed_step);
  if (outcome < 0) return outcome;
  outcome = place(request, pid, in_cgroup);
  if (outcome < 0) {
    spawned->cgroup_error = (int)-outcome;
    spawned->failed_step = BH_SPAWN_CGROUP;
    if (request->cgroup_required) return outcome;
  }
  if (request->oom_score != NULL || request->fail_step == BH_SPAWN_OOM_SCORE) {
    outcome = request->fail_step == BH_SPAWN_OOM_SCORE ? -request->fail_error
                                                       : write_proc(pid, "oom_score_adj", request->oom_score);
    if (outcome < 0) {
      spawned->oom_score_error = (int)-outcome;
      spawned->failed_step = BH_SPAWN_OOM_SCORE;
      if (request->oom_score_required) return outcome;
    }
  }
  spawned->failed_step = BH_SPAWN_NONE;
  return 0;
}

int64_t bh_spawn_process(const struct bh_spawn *request, struct bh_spawned *spawned) {
  *spawned = (struct bh_spawned){.pid = -1, .pidfd = -1, .failed_step = BH_SPAWN_PIPES};
  if (request->fail_step == BH_SPAWN_PIPES) return -request->fail_error;
  int failures[2], release[2];
  if (pipe2(failures, O_CLOEXEC) < 0) return -(int64_t)errno;
  if (pipe2(release, O_CLOEXEC) < 0) {
    int64_t error = -(int64_t)errno;
    close(failures[0]);
    close(failures[1]);
    return error;
  }

  spawned->failed_step = BH_SPAWN_CLONE;
  int pidfd = -1;
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int fail_error = request->fail_step == BH_SPAWN_CLONE ? request->fail_error : 0;
  int in_cgroup = 0;
  long pid = clone_process(request->namespaces, request->has_cgroup ? request->cgroup : -1, &pidfd, &in_cgroup, fail_error);
  if (pid == 0) {
    child_run((struct child){.request = request,
                             .failure_write = failures[1],
                             .release_read = release[0],
                             .release_write = release[1]});
  }
  int64_t outcome = pid < 0 ? -(int64_t)errno : 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  close(failures[1]);
  close(release[0]);

  if (outcome == 0) {
    outcome = prepare(request, (int)pid, in_cgroup, spawned);
    if (outcome == 0) {
      // A child that is gone already has said why on the failure pipe; SIGPIPE would only hide that.
      sigset_t pipe_signal, mask;
      sigemptyset(&pipe_signal);
      sigaddset(&pipe_signal, SIGPIPE);
      pthread_sigmask(SIG_BLOCK, &pipe_signal, &mask);
      ssize_t count;
      do {
        count = write(release[1], "", 1);
      } while (count < 0 && errno == EINTR);
      if (count < 0) {
        struct timespec none = {0};
        sigtimedwait(&pipe_signal, NULL, &none);
      }
      pthread_sigmask(SIG_SETMASK, &mask, NULL);

      struct failure failure;
      int is_note;
      do {
        count = read(failures[0], &failure, sizeof(failure));
        is_note = count == (ssize_t)sizeof(failure) && failure.step == BH_SPAWN_USER_NAMESPACES;
        if (is_note) spawned->user_namespaces_error = failure.error;
      } while (is_note || (count < 0 && errno == EINTR));
      // End-of-file: exec closed the pipe.
      if (count != 0) {
        int whole = count == (ssize_t)sizeof(failure);
        spawned->failed_step = whole ? failure.step : BH_SPAWN_EXEC;
        outcome = whole ? -(int64_t)failure.error : -EIO;
      }
    }
    if (outcome < 0) {
      kill_and_reap(pidfd);
      close(pidfd);
    } else {
      spawned->pid = (int)pid;
      spawned->pidfd = pidfd;
      spawned->failed_step = BH_SPAWN_NONE;
    }
  }
  close(failures[0]);
  close(release[1]);
  return outcome;
}

int64_t bh_pidfd_signal(int pidfd, int signal) { return result(syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0)); }

int64_t bh_pidfd_signal_value(int pidfd, int signal, uint32_t value) {
  siginfo_t info;
  memset(&info, 0, sizeof(info));
  info.si_signo = signal;
  info.si_code = SI_QUEUE;
  info.si_pid = getpid();
  info.si_uid = getuid();
  info.si_value.sival_int = (int)value;
  return result(syscall(SYS_pidfd_send_signal, pidfd, signal, &info, 0));
}


int64_t bh_wait(int pidfd, int block, int *code, int *status) {
  siginfo_t info;
  memset(&info, 0, sizeof(info));
  if (waitid((idtype_t)BH_P_PIDFD, (id_t)pidfd, &info, WEXITED | (block ? 0 : WNOHANG)) < 0) return -(int64_t)errno;
  if (info.si_pid == 0) return 0;
  *code = info.si_code;
  *status = info.si_status;
  return 1;
}
