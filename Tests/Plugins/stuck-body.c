// Never comes back from proxy_on_request_body; requests without a body pass it by.
#include "proxy_wasm.h"

static volatile uint32_t sink;

PW_NOINLINE static void stuck_for_ever(void) {
  for (;;) sink++;
}

PW_EXPORT(proxy_on_request_body) uint32_t on_request_body(uint32_t context, size_t size, uint32_t end) {
  (void)context, (void)size, (void)end;
  stuck_for_ever();
  return CONTINUE;
}
