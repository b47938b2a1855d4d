// Imports what WASI programs import and shows what each function answers in `x-wasi`. A sandboxed host has no files: it
// answers with defined refusals.
#include "proxy_wasm.h"

PW_WASI(fd_close) uint32_t wasi_fd_close(uint32_t fd);
PW_WASI(fd_read) uint32_t wasi_fd_read(uint32_t fd, struct wasi_vector *vectors, size_t count, size_t *got);
PW_WASI(fd_seek) uint32_t wasi_fd_seek(uint32_t fd, int64_t offset, uint32_t whence, uint64_t *position);
PW_WASI(fd_fdstat_get) uint32_t wasi_fd_fdstat_get(uint32_t fd, char *stat);
PW_WASI(fd_fdstat_set_flags) uint32_t wasi_fd_fdstat_set_flags(uint32_t fd, uint32_t flags);
PW_WASI(fd_prestat_get) uint32_t wasi_fd_prestat_get(uint32_t fd, char *stat);
PW_WASI(fd_prestat_dir_name) uint32_t wasi_fd_prestat_dir_name(uint32_t fd, char *path, size_t size);
PW_WASI(path_open)
uint32_t wasi_path_open(
    uint32_t fd, uint32_t flags, const char *path, size_t path_size, uint32_t open, uint64_t rights,
    uint64_t inheriting, uint32_t fd_flags, uint32_t *opened);
PW_WASI(poll_oneoff) uint32_t wasi_poll_oneoff(const char *in, char *out, size_t count, size_t *events);
PW_WASI(sched_yield) uint32_t wasi_sched_yield(void);
PW_WASI(clock_res_get) uint32_t wasi_clock_res_get(uint32_t clock, uint64_t *resolution);

static void report(struct text *text, const char *name, size_t size, uint32_t status) {
  if (text->size != 0) text_add(text, T("; "));
  text_add(text, name, size);
  text_add(text, T("="));
  text_add_number(text, status);
}

PW_EXPORT(proxy_on_response_headers)
uint32_t proxy_on_response_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)context, (void)count, (void)end;
  arena_reset();
  static struct text text;
  static char scratch[256];
  text.size = 0;
  size_t size = 99;
  uint64_t wide = 0;
  uint32_t opened = 0;
  struct wasi_vector vector = {scratch, sizeof scratch};
  report(&text, T("fd_prestat_get"), wasi_fd_prestat_get(3, scratch));
  report(&text, T("fd_prestat_dir_name"), wasi_fd_prestat_dir_name(3, scratch, sizeof scratch));
  report(&text, T("path_open"), wasi_path_open(3, 0, T("/etc/passwd"), 0, 0, 0, 0, &opened));
  report(&text, T("fd_read"), wasi_fd_read(0, &vector, 1, &size));
  report(&text, T("fd_close"), wasi_fd_close(7));
  report(&text, T("fd_seek"), wasi_fd_seek(7, 0, 0, &wide));
  report(&text, T("fd_fdstat_get"), wasi_fd_fdstat_get(7, scratch));
  report(&text, T("fd_fdstat_set_flags"), wasi_fd_fdstat_set_flags(7, 0));
  report(&text, T("poll_oneoff"), wasi_poll_oneoff(scratch, scratch, 1, &size));
  report(&text, T("poll_events"), size);
  report(&text, T("sched_yield"), wasi_sched_yield());
  report(&text, T("clock_res_get"), wasi_clock_res_get(1, &wide));
  header_add(MAP_RESPONSE, T("x-wasi"), text.data, text.size);
  return CONTINUE;
}
