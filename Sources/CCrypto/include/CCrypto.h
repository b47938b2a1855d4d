// libcrypto of OpenSSL 3, loaded while the process runs: only a worker whose plugin may sign takes its memory, and no
// process needs the library to start.
//
// The functions have OpenSSL's names with `bh_` before them. None may be called before `bh_crypto_load` has returned NULL.
#pragma once

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_dispatch.h>
#include <openssl/decoder.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdbool.h>

/// Loads `libcrypto.so.3`, once a process, so that it needs no file and no system call but getrandom, futex and those for
/// memory afterwards: it reads no configuration, and random numbers come from the kernel. Any thread.
///
/// Returns NULL where it is loaded, else why it is not: a text that stays.
const char *bh_crypto_load(void);

/// Whether `bh_crypto_load` has loaded it. Any thread.
bool bh_crypto_is_loaded(void);

/// Keeps other threads from what one thread at a time may do. Where nobody waits it makes no system call, which a worker
/// could not: Swift's Mutex asks for the thread's number.
void bh_crypto_lock(void);
void bh_crypto_unlock(void);

#define BH_CRYPTO_FUNCTIONS(FUNCTION) \
  FUNCTION(OPENSSL_init_crypto) \
  FUNCTION(ERR_clear_error) \
  FUNCTION(CRYPTO_free) \
  FUNCTION(CRYPTO_clear_free) \
  FUNCTION(BIO_new_mem_buf) \
  FUNCTION(BIO_free) \
  FUNCTION(BN_num_bits) \
  FUNCTION(BN_clear_free) \
  FUNCTION(PEM_read_bio) \
  FUNCTION(OSSL_DECODER_CTX_new_for_pkey) \
  FUNCTION(OSSL_DECODER_CTX_free) \
  FUNCTION(OSSL_DECODER_from_data) \
  FUNCTION(EVP_PKEY_free) \
  FUNCTION(EVP_PKEY_get_bits) \
  FUNCTION(EVP_PKEY_get_base_id) \
  FUNCTION(EVP_PKEY_get_group_name) \
  FUNCTION(EVP_PKEY_get_bn_param) \
  FUNCTION(EVP_MD_CTX_new) \
  FUNCTION(EVP_MD_CTX_free) \
  FUNCTION(EVP_DigestSignInit) \
  FUNCTION(EVP_DigestSign) \
  FUNCTION(EVP_DigestVerifyInit) \
  FUNCTION(EVP_DigestVerify) \
  FUNCTION(EVP_sha1) \
  FUNCTION(EVP_sha224) \
  FUNCTION(EVP_sha256) \
  FUNCTION(EVP_sha384) \
  FUNCTION(EVP_sha512)

/// The library's functions, each with the type that its header gives it.
struct bh_crypto_functions {
#define BH_CRYPTO_MEMBER(name) __typeof__(&name) name;
  BH_CRYPTO_FUNCTIONS(BH_CRYPTO_MEMBER)
#undef BH_CRYPTO_MEMBER
};

extern struct bh_crypto_functions bh_crypto;

static inline void bh_ERR_clear_error(void) { bh_crypto.ERR_clear_error(); }

static inline void bh_CRYPTO_free(void *pointer) { bh_crypto.CRYPTO_free(pointer, "", 0); }

static inline void bh_CRYPTO_clear_free(void *pointer, size_t size) {
  bh_crypto.CRYPTO_clear_free(pointer, size, "", 0);
}

static inline BIO *bh_BIO_new_mem_buf(const void *bytes, int size) { return bh_crypto.BIO_new_mem_buf(bytes, size); }

static inline void bh_BIO_free(BIO *bio) { bh_crypto.BIO_free(bio); }

static inline int bh_BN_num_bits(const BIGNUM *number) { return bh_crypto.BN_num_bits(number); }

static inline void bh_BN_clear_free(BIGNUM *number) { bh_crypto.BN_clear_free(number); }

static inline int bh_PEM_read_bio(BIO *bio, char **name, char **header, unsigned char **data, long *size) {
  return bh_crypto.PEM_read_bio(bio, name, header, data, size);
}

static inline OSSL_DECODER_CTX *bh_OSSL_DECODER_CTX_new_for_pkey(
  EVP_PKEY **key, const char *input, const char *structure, const char *kind, int selection) {
  return bh_crypto.OSSL_DECODER_CTX_new_for_pkey(key, input, structure, kind, selection, NULL, NULL);
}

static inline void bh_OSSL_DECODER_CTX_free(OSSL_DECODER_CTX *decoder) { bh_crypto.OSSL_DECODER_CTX_free(decoder); }

static inline int bh_OSSL_DECODER_from_data(OSSL_DECODER_CTX *decoder, const unsigned char **next, size_t *left) {
  return bh_crypto.OSSL_DECODER_from_data(decoder, next, left);
}

static inline void bh_EVP_PKEY_free(EVP_PKEY *key) { bh_crypto.EVP_PKEY_free(key); }

static inline int bh_EVP_PKEY_get_bits(const EVP_PKEY *key) { return bh_crypto.EVP_PKEY_get_bits(key); }

static inline int bh_EVP_PKEY_get_base_id(const EVP_PKEY *key) { return bh_crypto.EVP_PKEY_get_base_id(key); }

/// Whether the key's curve has a name.
static inline int bh_EVP_PKEY_has_group_name(const EVP_PKEY *key) {
  size_t size = 0;
  return bh_crypto.EVP_PKEY_get_group_name(key, NULL, 0, &size);
}

static inline int bh_EVP_PKEY_get_bn_param(const EVP_PKEY *key, const char *name, BIGNUM **number) {
  return bh_crypto.EVP_PKEY_get_bn_param(key, name, number);
}

static inline EVP_MD_CTX *bh_EVP_MD_CTX_new(void) { return bh_crypto.EVP_MD_CTX_new(); }

static inline void bh_EVP_MD_CTX_free(EVP_MD_CTX *context) { bh_crypto.EVP_MD_CTX_free(context); }

static inline int bh_EVP_DigestSignInit(EVP_MD_CTX *context, const EVP_MD *digest, EVP_PKEY *key) {
  return bh_crypto.EVP_DigestSignInit(context, NULL, digest, NULL, key);
}

static inline int bh_EVP_DigestSign(
  EVP_MD_CTX *context, unsigned char *signature, size_t *size, const unsigned char *text, size_t text_size) {
  return bh_crypto.EVP_DigestSign(context, signature, size, text, text_size);
}

static inline int bh_EVP_DigestVerifyInit(EVP_MD_CTX *context, const EVP_MD *digest, EVP_PKEY *key) {
  return bh_crypto.EVP_DigestVerifyInit(context, NULL, digest, NULL, key);
}

static inline int bh_EVP_DigestVerify(
  EVP_MD_CTX *context, const unsigned char *signature, size_t size, const unsigned char *text, size_t text_size) {
  return bh_crypto.EVP_DigestVerify(context, signature, size, text, text_size);
}

static inline const EVP_MD *bh_EVP_sha1(void) { return bh_crypto.EVP_sha1(); }
static inline const EVP_MD *bh_EVP_sha224(void) { return bh_crypto.EVP_sha224(); }
static inline const EVP_MD *bh_EVP_sha256(void) { return bh_crypto.EVP_sha256(); }
static inline const EVP_MD *bh_EVP_sha384(void) { return bh_crypto.EVP_sha384(); }
static inline const EVP_MD *bh_EVP_sha512(void) { return bh_crypto.EVP_sha512(); }
