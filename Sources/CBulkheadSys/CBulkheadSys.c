#include "CBulkheadSys.h"
