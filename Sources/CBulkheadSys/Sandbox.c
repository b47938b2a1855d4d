// What a process does to itself to have less.

#define _GNU_SOURCE
#include "CBulkheadSys.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

// Numbers that all architectures share, for headers that are older than the kernel.
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif

static int64_t result(int64_t value) { return value < 0 ? -(int64_t)errno : value; }

int64_t bh_no_new_privileges(void) { return result(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)); }
int64_t bh_set_dumpable(int on) { return result(prctl(PR_SET_DUMPABLE, on, 0, 0, 0)); }
int64_t bh_set_name(const char *name) { return result(prctl(PR_SET_NAME, name, 0, 0, 0)); }
int64_t bh_set_death_signal(int signal) { return result(prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0)); }

int64_t bh_set_limit(int resource, uint64_t value) {
  struct rlimit limit;
  if (getrlimit(resource, &limit) < 0) return -(int64_t)errno;
  // Only ever downwards: a lower limit that holds already stays.
  if (limit.rlim_max == RLIM_INFINITY || value < limit.rlim_max) limit.rlim_max = value;
  if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_max < limit.rlim_cur) limit.rlim_cur = limit.rlim_max;
  return result(setrlimit(resource, &limit));
}

int64_t bh_drop_bounding_set(void) {
  for (int capability = 0; capability < 64; capability++) {
    int held = prctl(PR_CAPBSET_READ, capability, 0, 0, 0);
    if (held < 0) return errno == EINVAL ? 0 : -(int64_t)errno;
    if (held == 1 && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0) return -(int64_t)errno;
  }
  return 0;
}

int64_t bh_drop_capabilities(void) {
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL) return -(int64_t)errno;
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct none[2];
  memset(none, 0, sizeof(none));
  return result(syscall(SYS_capset, &header, none));
}

int64_t bh_has_capabilities(void) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct held[2];
  if (syscall(SYS_capget, &header, held) < 0) return -(int64_t)errno;
  for (int index = 0; index < 2; index++) {
    if ((held[index].effective | held[index].permitted | held[index].inheritable) != 0) return 1;
  }
  for (int capability = 0; capability < 64; capability++) {
    int ambient = prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, capability, 0, 0);
    if (ambient < 0) break;
    if (ambient == 1) return 1;
  }
  return 0;
}

// The bare calls: those of the C library would signal threads that a sandboxed process does not have.
int64_t bh_drop_groups(void) { return result(syscall(SYS_setgroups, 0, NULL)); }
int64_t bh_group_count(void) { return result(syscall(SYS_getgroups, 0, NULL)); }

int64_t bh_has_further_groups(void) {
  gid_t groups[64];
  long count = syscall(SYS_getgroups, 64, groups);
  // More than fit are more than one.
  if (count < 0) return errno == EINVAL ? 1 : -(int64_t)errno;
  gid_t own = (gid_t)syscall(SYS_getegid);
  for (long index = 0; index < count; index++) {
    if (groups[index] != own) return 1;
  }
  return 0;
}

int64_t bh_become(uint32_t uid, uint32_t gid) {
  if (syscall(SYS_setresgid, gid, gid, gid) < 0) return -(int64_t)errno;
  return result(syscall(SYS_setresuid, uid, uid, uid));
}

int64_t bh_unshare_mounts(void) {
  if (unshare(CLONE_NEWNS) < 0) return -(int64_t)errno;
  return result(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
}

int64_t bh_mount(const char *source, const char *target, const char *type, uint64_t flags, const char *data) {
  return result(mount(source, target, type, flags, data));
}

int64_t bh_bind_read_only(const char *source, const char *target) {
  if (mount(source, target, NULL, MS_BIND, NULL) < 0) return -(int64_t)errno;
  // mount_setattr only adds: a remount would have to repeat the flags that a user namespace locks.
  struct {
    uint64_t set, clear, propagation, user_namespace;
  } attributes = {.set = 1 /* RDONLY */ | 2 /* NOSUID */ | 4 /* NODEV */};
  return result(syscall(SYS_mount_setattr, AT_FDCWD, target, 0, &attributes, sizeof(attributes)));
}

int64_t bh_pivot_root_here(void) {
  // With both arguments the same the old root lands on top of the new one, from where it is taken off: no directory
  // for it has to exist in the new root.
  if (syscall(SYS_pivot_root, ".", ".") < 0) return -(int64_t)errno;
  if (umount2(".", MNT_DETACH) < 0) return -(int64_t)errno;
  return result(chdir("/"));
}

int64_t bh_change_root(const char *path) {
  if (chroot(path) < 0) return -(int64_t)errno;
  return result(chdir("/"));
}

int64_t bh_make_file(const char *path) {
  int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0444);
  if (fd < 0) return -(int64_t)errno;
  return result(close(fd));
}

int64_t bh_make_directory(const char *path) {
  if (mkdir(path, 0555) < 0) return -(int64_t)errno;
  // Whatever the umask: the process becomes somebody else, who has to get through.
  return result(chmod(path, 0555));
}
int64_t bh_change_directory(const char *path) { return result(chdir(path)); }
int64_t bh_read_link(const char *path, char *buffer, size_t room) { return result(readlink(path, buffer, room)); }

int64_t bh_real_path(const char *path, char *buffer, size_t room) {
  char found[PATH_MAX];
  if (realpath(path, found) == NULL) return -(int64_t)errno;
  size_t length = strlen(found);
  if (length > room) return -ENAMETOOLONG;
  memcpy(buffer, found, length);
  return (int64_t)length;
}

int64_t bh_same_file(const char *path, int fd) {
  struct stat there, here;
  if (stat(path, &there) < 0 || fstat(fd, &here) < 0) return -(int64_t)errno;
  return there.st_dev == here.st_dev && there.st_ino == here.st_ino;
}

// MARK: Landlock

int64_t bh_landlock_abi(void) { return result(syscall(SYS_landlock_create_ruleset, NULL, 0, 1)); }

struct landlock {
  uint64_t files, network, scoped;
};

/// All that a Landlock of that version can deny; the result is the size of what it knows.
static size_t landlock_everything(int64_t abi, struct landlock *handled) {
  *handled = (struct landlock){.files = (1u << 13) - 1};
  if (abi >= 2) handled->files |= 1u << 13;  // linking and renaming between directories
  if (abi >= 3) handled->files |= 1u << 14;  // truncating
  if (abi >= 4) handled->network = 3;        // binding and connecting TCP
  if (abi >= 5) handled->files |= 1u << 15;  // ioctl on devices
  if (abi >= 6) handled->scoped = 3;         // abstract Unix sockets and signals
  return abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
}

/// Allows `allowed` at the path and below it.
static int64_t landlock_allow(int ruleset, const char *path, uint64_t allowed) {
  int file = open(path, O_PATH | O_CLOEXEC);
  if (file < 0) return -(int64_t)errno;
  struct {
    uint64_t allowed;
    int32_t parent;
  } __attribute__((packed)) rule = {.allowed = allowed, .parent = file};
  int64_t outcome = result(syscall(SYS_landlock_add_rule, ruleset, 1 /* path beneath */, &rule, 0));
  close(file);
  return outcome;
}

int64_t bh_landlock_restrict(const char *readable) {
  int64_t abi = bh_landlock_abi();
  if (abi < 0) return abi;
  struct landlock handled;
  size_t size = landlock_everything(abi, &handled);
  int ruleset = (int)syscall(SYS_landlock_create_ruleset, &handled, size, 0);
  if (ruleset < 0) return -(int64_t)errno;

  int64_t outcome = 0;
  if (readable != NULL) {
    outcome = landlock_allow(ruleset, readable, 1u << 2 /* reading a file */);
    // Memory behind a descriptor is on no file system that Landlock decides about: it is readable without a rule.
    if (outcome == -EBADFD) outcome = 0;
  }
  if (outcome >= 0) outcome = result(syscall(SYS_landlock_restrict_self, ruleset, 0));
  close(ruleset);
  return outcome < 0 ? outcome : abi;
}

int64_t bh_landlock_restrict_client(const char *const *readable, size_t count) {
  int64_t abi = bh_landlock_abi();
  if (abi < 0) return abi;
  struct landlock handled;
  size_t size = landlock_everything(abi, &handled);
  handled.network &= 1;  // binding TCP; it connects to whom it likes
  int ruleset = (int)syscall(SYS_landlock_create_ruleset, &handled, size, 0);
  if (ruleset < 0) return -(int64_t)errno;

  int64_t outcome = 0;
  for (size_t index = 0; index < count && outcome >= 0; index++) {
    outcome = landlock_allow(ruleset, readable[index], 1u << 2 /* reading a file */);
    // What is not there needs no rule.
    if (outcome == -ENOENT || outcome == -EACCES || outcome == -ENOTDIR) outcome = 0;
  }
  if (outcome >= 0) outcome = result(syscall(SYS_landlock_restrict_self, ruleset, 0));
  close(ruleset);
  return outcome < 0 ? outcome : abi;
}

// MARK: libraries

void bh_load_library(const char *name) { dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE); }

// MARK: seccomp

int64_t bh_seccomp_load(const void *program, size_t count) {
  _Static_assert(sizeof(struct sock_filter) == 8, "a BPF instruction has 8 bytes");
  if (count == 0 || count % sizeof(struct sock_filter) != 0) return -EINVAL;
  if (count / sizeof(struct sock_filter) > BPF_MAXINSNS) return -E2BIG;
  struct sock_fprog filter = {
      .len = (unsigned short)(count / sizeof(struct sock_filter)), .filter = (struct sock_filter *)program};
  return result(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter));
}

int64_t bh_raw_syscall(int64_t number, int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f) {
  return result(syscall(number, a, b, c, d, e, f));
}
