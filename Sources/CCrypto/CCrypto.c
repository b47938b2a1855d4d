#define _GNU_SOURCE
// RAND_METHOD is deprecated, and the one way to keep the library's own generators from asking for the process's number at
// each use, which a worker's seccomp filter kills for.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "CCrypto.h"

#include <dlfcn.h>
#include <errno.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/random.h>

struct bh_crypto_functions bh_crypto;

static char failure[256];
static atomic_bool is_loaded;

static int random_bytes(unsigned char *bytes, int count) {
  size_t filled = 0;
  if (count < 0) return 0;
  while (filled < (size_t)count) {
    ssize_t got = getrandom(bytes + filled, (size_t)count - filled, 0);
    if (got > 0) filled += (size_t)got;
    else if (got == 0 || errno != EINTR) return 0;
  }
  return 1;
}

static int is_seeded(void) { return 1; }

static const RAND_METHOD kernel_random = {
  .bytes = random_bytes,
  .pseudorand = random_bytes,
  .status = is_seeded,
};

static void fail(const char *why) { snprintf(failure, sizeof failure, "%s", why ? why : "unknown"); }

static void load(void) {
  struct bh_crypto_functions found;
  void *library = dlopen("libcrypto.so.3", RTLD_NOW | RTLD_LOCAL);
  if (!library) return fail(dlerror());
#define BH_CRYPTO_FIND(name) \
  found.name = (__typeof__(&name))dlsym(library, #name); \
  if (!found.name) return fail("libcrypto.so.3 has no " #name);
  BH_CRYPTO_FUNCTIONS(BH_CRYPTO_FIND)
#undef BH_CRYPTO_FIND
  int (*set_random)(const RAND_METHOD *) = (int (*)(const RAND_METHOD *))dlsym(library, "RAND_set_rand_method");
  if (!set_random) return fail("libcrypto.so.3 has no RAND_set_rand_method");
  if (found.OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT, NULL) != 1)
    return fail("libcrypto.so.3 cannot be initialised");
  if (set_random(&kernel_random) != 1) return fail("libcrypto.so.3 takes no random numbers of the kernel's");
  bh_crypto = found;
  atomic_store(&is_loaded, true);
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void bh_crypto_lock(void) { pthread_mutex_lock(&lock); }

void bh_crypto_unlock(void) { pthread_mutex_unlock(&lock); }

bool bh_crypto_is_loaded(void) { return atomic_load(&is_loaded); }

const char *bh_crypto_load(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, load);
  return failure[0] ? failure : NULL;
}
