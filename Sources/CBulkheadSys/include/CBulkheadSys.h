// The system calls of Bulkhead, for Swift.
//
// Every function returns its result, or the negated errno. None allocates memory or touches errno's users, so that the
// caller's funnel is the one place that looks at errors.

#ifndef CBulkheadSys_h
#define CBulkheadSys_h

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// MARK: errors

/// "EACCES", or NULL for a number that is none.
const char *bh_errno_name(int error);
/// "Permission denied", or NULL for a number that is none.
const char *bh_errno_text(int error);

/// "KILL", or NULL for a signal without a name.
const char *bh_signal_name(int signal);

// MARK: test hook

/// Makes the calling thread's call of that operation fail with that errno, after `skip` such calls; NULL ends it.
void bh_test_fail(const char *operation, int error, int skip);
/// The errno that the operation is to fail with on this thread, or 0.
int bh_test_failure(const char *operation);

// MARK: descriptors

int64_t bh_open(const char *path, int flags, unsigned mode);
int64_t bh_close(int fd);
int64_t bh_close_from(unsigned first);
int64_t bh_close_range(unsigned first, unsigned last);
/// Has all numbers from `first` on closed by the next exec.
int64_t bh_close_on_exec_from(unsigned first);
/// Has a number closed by the next exec, or kept.
int64_t bh_close_on_exec(int fd, int on);
int64_t bh_read(int fd, void *buffer, size_t count);
int64_t bh_write(int fd, const void *buffer, size_t count);
int64_t bh_pread(int fd, void *buffer, size_t count, int64_t offset);
int64_t bh_pwrite(int fd, const void *bytes, size_t count, int64_t offset);
int64_t bh_duplicate(int fd);
int64_t bh_set_nonblocking(int fd, int on);
int64_t bh_pipe(int descriptors[2], int flags);
/// Lets the pipe hold that many bytes.
int64_t bh_pipe_size(int fd, int bytes);
int64_t bh_eventfd(void);
int64_t bh_file_size(int fd);
/// Whether the file behind the descriptor is on a mount that forbids executable mappings.
int64_t bh_is_noexec(int fd);
int64_t bh_poll(int fd, short events, int timeout_milliseconds);

#define BH_PIPE_NONBLOCK_READ 1
#define BH_PIPE_NONBLOCK_WRITE 2

// MARK: memory

/// A memfd of that size, sealed with those seals (F_SEAL_*) where `seals` is not 0.
int64_t bh_memfd(const char *name, uint64_t size, int seals);
/// Sealable memory for journald, which takes no other seals than those against shrinking, growing and writing: neither the one
/// that `bh_memfd` has against execution.
int64_t bh_journal_memfd(const char *name);
int64_t bh_seal(int fd, int seals);
int64_t bh_seals(int fd);
/// Maps the descriptor shared; `*address` is valid where the result is 0.
int64_t bh_map(int fd, size_t size, int writable, void **address);
int64_t bh_unmap(void *address, size_t size);

#define BH_SEAL_SEAL 0x1
#define BH_SEAL_SHRINK 0x2
#define BH_SEAL_GROW 0x4
#define BH_SEAL_WRITE 0x8

// MARK: sockets

int64_t bh_seqpacket_pair(int descriptors[2]);
/// Sends one message with descriptors; never raises SIGPIPE.
int64_t bh_send(int fd, const void *bytes, size_t count, const int *descriptors, size_t descriptor_count);
/// Receives one message; `*descriptor_count` is the room in `descriptors` before and the count after. What came with a
/// message whose bytes or descriptors were cut is closed, and the result is -EMSGSIZE.
int64_t bh_receive(int fd, void *bytes, size_t room, int *descriptors, size_t *descriptor_count);
#define BH_MAXIMUM_DESCRIPTORS 128
/// A non-blocking listening TCP socket. `host` may be NULL for any address; `*bound_port` is the port that it got.
/// `*lookup_error` is the code of getaddrinfo where the name is not one, else 0.
int64_t bh_listen(const char *host, const char *port, int backlog, char *bound, size_t bound_size, int *bound_port,
                  int *is_ipv6, int *lookup_error);
const char *bh_lookup_text(int lookup_error);
/// Makes a listening TCP socket that somebody else bound like one of `bh_listen`. Negative where it is none:
/// -ESOCKTNOSUPPORT no stream, -EAFNOSUPPORT not of the Internet, -ENOTCONN not listening.
int64_t bh_adopt_listener(int fd, char *bound, size_t bound_size, int *bound_port, int *is_ipv6);
/// How many connections may wait in a listening TCP socket to be accepted.
int64_t bh_backlog(int fd);
/// Sets that, for a socket that listens already; those that wait stay. The kernel makes it at most net.core.somaxconn.
int64_t bh_set_backlog(int fd, int backlog);
/// Whether the socket is bound to what `bh_listen` would bind for host and port: 1 or 0. Port 0 is every port, and every
/// address of one family is every address of the other.
int64_t bh_is_bound_to(int fd, const char *host, const char *port);
/// A non-blocking datagram socket whose peer is that Unix socket: a path, or '@' and an abstract name.
int64_t bh_unix_datagram_to(const char *path, size_t length);

// MARK: time and events

uint64_t bh_monotonic_nanoseconds(void);
uint64_t bh_realtime_nanoseconds(void);
int64_t bh_epoll_create(void);
int64_t bh_epoll_control(int epoll, int operation, int fd, uint32_t events, uint64_t token);
/// `events` and `tokens` have room for `room` entries.
int64_t bh_epoll_wait(int epoll, uint32_t *events, uint64_t *tokens, int room, int timeout_milliseconds);
int64_t bh_signalfd(const int *signals, size_t count);
/// The next signal, with the sender's pid.
int64_t bh_signalfd_read(int fd, int32_t *sender);

#define BH_EPOLL_ADD 1
#define BH_EPOLL_REMOVE 2
#define BH_EPOLL_MODIFY 3

// MARK: processes

enum bh_spawn_step {
  BH_SPAWN_NONE = 0,
  BH_SPAWN_PIPES = 1,
  BH_SPAWN_CLONE = 2,
  BH_SPAWN_SETGROUPS = 3,
  BH_SPAWN_UID_MAP = 4,
  BH_SPAWN_GID_MAP = 5,
  BH_SPAWN_SIGNALS = 6,
  BH_SPAWN_DEATH_SIGNAL = 7,
  BH_SPAWN_RELEASE = 8,
  BH_SPAWN_SESSION = 9,
  BH_SPAWN_DIRECTORY = 10,
  BH_SPAWN_DESCRIPTORS = 11,
  BH_SPAWN_CLOSE = 12,
  BH_SPAWN_EXEC = 13,
  BH_SPAWN_CGROUP = 14,
  BH_SPAWN_OOM_SCORE = 15,
  BH_SPAWN_USER_NAMESPACES = 16,
};

struct bh_spawn {
  const char *path;
  /// Open file that is executed instead of what is at `path`; -1: none.
  int image;
  char *const *argv;
  char *const *envp;
  /// `descriptors[i]` becomes descriptor i of the child; everything else is closed.
  const int *descriptors;
  size_t descriptor_count;
  /// CLONE_NEW* flags.
  uint64_t namespaces;
  /// What the parent writes to the child's maps where `namespaces` has CLONE_NEWUSER.
  const char *uid_map;
  const char *gid_map;
  /// The parent has to forgo setgroups in the child before it may write the gid map.
  int deny_setgroups;
  /// The signal that the child gets when the spawning thread ends.
  int death_signal;
  /// The control group (cgroup v2) that the child is born into, an open directory; where the kernel cannot do that, and
  /// for version 1, the child's number is written to each of `cgroup_files`, descriptors of `cgroup.procs`.
  int has_cgroup;
  int cgroup;
  const int *cgroup_files;
  size_t cgroup_file_count;
  /// So many of the first ones belong to `cgroup`: nothing is written there where the child was born into it.
  size_t cgroup_own_files;
  /// What is written to the child's `oom_score_adj`, or NULL.
  const char *oom_score;
  /// 1 to 19: how far the child lets others have the processors first; 0: as this process.
  int niceness;
  /// Whether the child must not run where the control group, or the score, cannot be had.
  int cgroup_required;
  int oom_score_required;
  /// For tests: the step that fails with `fail_error` instead of being done.
  int fail_step;
  int fail_error;
};

struct bh_spawned {
  int pid;
  int pidfd;
  /// The step that failed, where the result is negative.
  int failed_step;
  /// The errno by which it runs outside its control group, or without its score; else 0.
  int cgroup_error;
  int oom_score_error;
  /// The errno by which further user namespaces can be made in the child's own; 0 where they cannot, or it has none.
  int user_namespaces_error;
};

/// Starts a process. The child does only what is async-signal-safe between clone and exec.
int64_t bh_spawn_process(const struct bh_spawn *request, struct bh_spawned *spawned);

#define BH_NAMESPACE_MOUNT 0x00020000u
#define BH_NAMESPACE_UTS 0x04000000u
#define BH_NAMESPACE_IPC 0x08000000u
#define BH_NAMESPACE_USER 0x10000000u
#define BH_NAMESPACE_PID 0x20000000u
#define BH_NAMESPACE_NETWORK 0x40000000u

int64_t bh_pidfd_signal(int pidfd, int signal);
/// As sigqueue: the handler finds the value in its siginfo.
int64_t bh_pidfd_signal_value(int pidfd, int signal, uint32_t value);
/// 1 where it has ended (`*code` is CLD_*, `*status` the exit code or signal), 0 where it still runs.
int64_t bh_wait(int pidfd, int block, int *code, int *status);
#define BH_EXITED 1
#define BH_KILLED 2
#define BH_DUMPED 3

// MARK: sandbox

int64_t bh_no_new_privileges(void);
int64_t bh_set_dumpable(int on);
int64_t bh_set_death_signal(int signal);
/// Names the calling thread, the first one also its process: 15 bytes of it.
int64_t bh_set_name(const char *name);
int64_t bh_set_limit(int resource, uint64_t value);
int64_t bh_drop_bounding_set(void);
int64_t bh_drop_capabilities(void);
/// Whether any capability is left in any set: 1 or 0.
int64_t bh_has_capabilities(void);
int64_t bh_drop_groups(void);
int64_t bh_group_count(void);
/// Whether a supplementary group is another than the effective group: 1 or 0.
int64_t bh_has_further_groups(void);
/// Real, effective and saved ids of the calling thread, groups first.
int64_t bh_become(uint32_t uid, uint32_t gid);
int64_t bh_unshare_mounts(void);
int64_t bh_mount(const char *source, const char *target, const char *type, uint64_t flags, const char *data);
/// Binds the file or directory at `source` over `target`, read-only, without set-id and devices.
int64_t bh_bind_read_only(const char *source, const char *target);
int64_t bh_pivot_root_here(void);
/// Makes a directory the root of the process, and its working directory.
int64_t bh_change_root(const char *path);
int64_t bh_make_file(const char *path);
int64_t bh_make_directory(const char *path);
int64_t bh_change_directory(const char *path);
/// The path without links, as `realpath`; its length, without a NUL.
int64_t bh_real_path(const char *path, char *buffer, size_t room);
int64_t bh_read_link(const char *path, char *buffer, size_t room);
/// Whether path and descriptor are the same file: 1 or 0.
int64_t bh_same_file(const char *path, int fd);
int64_t bh_landlock_abi(void);
/// Denies all that this kernel's Landlock can deny, except reading the file at `readable` where it is not NULL.
int64_t bh_landlock_restrict(const char *readable);
/// Denies all that this kernel's Landlock can deny, except reading those files and the files below those directories, as far as
/// they are there, and connecting.
int64_t bh_landlock_restrict_client(const char *const *readable, size_t count);
/// Maps a shared library for good; nothing where there is none of that name.
void bh_load_library(const char *name);
/// Loads a BPF program of `count` bytes; the process needs no_new_privs.
int64_t bh_seccomp_load(const void *program, size_t count);
/// For tests and probes: a bare system call.
int64_t bh_raw_syscall(int64_t number, int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f);

#endif
