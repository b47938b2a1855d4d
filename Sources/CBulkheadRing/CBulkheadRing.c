#include "CBulkheadRing.h"
