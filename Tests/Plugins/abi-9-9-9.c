// Marks itself as written for an ABI that does not exist: to be refused, naming what was found.
#define PW_OWN_ABI_VERSION
#include "proxy_wasm.h"

PW_EXPORT(proxy_abi_version_9_9_9) void proxy_abi_version_9_9_9(void) {}
