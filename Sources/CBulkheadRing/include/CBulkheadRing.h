#ifndef CBulkheadRing_h
#define CBulkheadRing_h
#endif
