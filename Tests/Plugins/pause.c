// Pauses streams and lets them go from its tick (every 10 ms). The request header `x-pause` says how:
//
//   no        not at all
//   request   pause the request, continue it two ticks later (so too without the header)
//   response  the same with the response
//   both      both
//   edit      pause the request; the tick adds `x-edited: tick` before it continues it
//   answer    pause the request; the tick answers it: 418
//   close     pause the request; the tick closes the stream
//   inside    call proxy_continue_stream in the callback itself, then return PAUSE
//   forever   pause the request and forget it
#include "proxy_wasm.h"

enum { STREAMS = 256, NOTHING = 0, CONTINUE_REQUEST, CONTINUE_RESPONSE, EDIT, ANSWER, CLOSE };

static struct stream {
  uint32_t context;
  uint32_t todo, ticks;
  bool pause_response;
} streams[STREAMS];

static void plan(uint32_t context, uint32_t todo) {
  struct stream *stream = &streams[context % STREAMS];
  stream->todo = todo;
  stream->ticks = 0;
}

PW_EXPORT(proxy_on_configure) uint32_t proxy_on_configure(uint32_t root, uint32_t size) {
  (void)root, (void)size;
  return proxy_set_tick_period_milliseconds(10) == STATUS_OK;
}

PW_EXPORT(proxy_on_request_headers)
uint32_t proxy_on_request_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)count, (void)end;
  arena_reset();
  struct stream *stream = &streams[context % STREAMS];
  stream->context = context;
  stream->todo = NOTHING;
  stream->pause_response = false;
  char *how;
  size_t size;
  if (!header_get(MAP_REQUEST, T("x-pause"), &how, &size)) {
    plan(context, CONTINUE_REQUEST);
    return PAUSE;
  }
  if (text_equal(how, size, "no")) return CONTINUE;
  stream->pause_response = text_equal(how, size, "response") || text_equal(how, size, "both");
  if (text_equal(how, size, "response")) return CONTINUE;
  if (text_equal(how, size, "request") || text_equal(how, size, "both")) plan(context, CONTINUE_REQUEST);
  if (text_equal(how, size, "edit")) plan(context, EDIT);
  if (text_equal(how, size, "answer")) plan(context, ANSWER);
  if (text_equal(how, size, "close")) plan(context, CLOSE);
  if (text_equal(how, size, "inside")) proxy_continue_stream(STREAM_REQUEST);
  return PAUSE;
}

PW_EXPORT(proxy_on_response_headers)
uint32_t proxy_on_response_headers(uint32_t context, uint32_t count, uint32_t end) {
  (void)count, (void)end;
  arena_reset();
  header_add(MAP_RESPONSE, T("x-pause-seen"), T("yes"));
  struct stream *stream = &streams[context % STREAMS];
  if (stream->context != context || !stream->pause_response) return CONTINUE;
  plan(context, CONTINUE_RESPONSE);
  return PAUSE;
}

PW_EXPORT(proxy_on_tick) void proxy_on_tick(uint32_t root) {
  (void)root;
  arena_reset();
  for (size_t i = 0; i < STREAMS; i++) {
    struct stream *stream = &streams[i];
    if (stream->todo == NOTHING || ++stream->ticks < 2) continue;
    uint32_t todo = stream->todo;
    stream->todo = NOTHING;
    if (proxy_set_effective_context(stream->context) != STATUS_OK) continue;
    switch (todo) {
    case EDIT:
      header_add(MAP_REQUEST, T("x-edited"), T("tick"));
      proxy_continue_stream(STREAM_REQUEST);
      break;
    case CONTINUE_REQUEST: proxy_continue_stream(STREAM_REQUEST); break;
    case CONTINUE_RESPONSE: proxy_continue_stream(STREAM_RESPONSE); break;
    case ANSWER: proxy_send_local_response(418, T("from the tick"), T("paused\n"), NULL, 0, (uint32_t)-1); break;
    case CLOSE: proxy_close_stream(STREAM_REQUEST); break;
    }
  }
}

PW_EXPORT(proxy_on_delete) void proxy_on_delete(uint32_t context) {
  struct stream *stream = &streams[context % STREAMS];
  if (stream->context == context) stream->todo = NOTHING;
}
