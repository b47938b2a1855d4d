// Counts its ticks: `x-ticks` on every response. Configuration: {"period": MILLISECONDS} (default 20), and a text that
// contains "loop", "trap" or "once" makes the third tick loop for ever, trap, or switch the timer off.
#include "proxy_wasm.h"

static uint32_t ticks;
static bool loop, trap, once;
static volatile uint32_t sink;

PW_EXPORT(proxy_on_configure) uint32_t proxy_on_configure(uint32_t root, uint32_t size) {
  (void)root;
  char *data;
  size_t got;
  uint64_t period = 20;
  if (configuration_get(size, &data, &got)) {
    loop = text_find(data, got, "loop") >= 0;
    trap = text_find(data, got, "trap") >= 0;
    once = text_find(data, got, "once") >= 0;
    int start = text_find(data, got, "\"period\":");
    if (start >= 0) {
      size_t from = (size_t)start + 9;
      while (from < got && data[from] == ' ') from++;
      period = text_number(data + from, got - from);
    }
  }
  return proxy_set_tick_period_milliseconds((uint32_t)period) == STATUS_OK;
}

PW_NOINLINE static void tick_for_ever(void) {
  for (;;) sink++;
}

PW_EXPORT(proxy_on_tick) void proxy_on_tick(uint32_t root) {
  (void)root;
  ticks++;
  if (ticks != 3) return;
  if (loop) tick_for_ever();
  if (trap) __builtin_trap();
  if (once) proxy_set_tick_period_milliseconds(0);
}

PW_EXPORT(proxy_on_response_headers)
uint32_t proxy_on_response_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)context, (void)count, (void)end;
  header_add_number(MAP_RESPONSE, T("x-ticks"), ticks);
  return CONTINUE;
}
