#ifndef CWasmtime_h
#define CWasmtime_h
#endif
