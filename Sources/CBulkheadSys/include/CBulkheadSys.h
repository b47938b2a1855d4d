#ifndef CBulkheadSys_h
#define CBulkheadSys_h
#endif
