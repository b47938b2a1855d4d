#include "CBulkheadYAML.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct bh_yaml_parser {
  yaml_parser_t parser;
  /// The last event, whose memory the caller still reads.
  yaml_event_t event;
};

bh_yaml_parser *bh_yaml_open(const uint8_t *bytes, size_t count) {
  bh_yaml_parser *parser = calloc(1, sizeof *parser);
  if (!parser) return NULL;
  if (!yaml_parser_initialize(&parser->parser)) {
    free(parser);
    return NULL;
  }
  // Said, so that it looks for no byte order mark.
  yaml_parser_set_encoding(&parser->parser, YAML_UTF8_ENCODING);
  yaml_parser_set_input_string(&parser->parser, bytes, count);
  return parser;
}

void bh_yaml_close(bh_yaml_parser *parser) {
  yaml_event_delete(&parser->event);
  yaml_parser_delete(&parser->parser);
  free(parser);
}

bool bh_yaml_next(bh_yaml_parser *parser, bh_yaml_event *event) {
  do {
    yaml_event_delete(&parser->event);
    if (!yaml_parser_parse(&parser->parser, &parser->event)) return false;
  } while (parser->event.type == YAML_STREAM_START_EVENT);
  const yaml_event_t *found = &parser->event;
  memset(event, 0, sizeof *event);
  event->line = found->start_mark.line + 1;
  event->column = found->start_mark.column + 1;
  switch (found->type) {
    case YAML_DOCUMENT_START_EVENT: event->kind = BH_YAML_DOCUMENT_START; break;
    case YAML_DOCUMENT_END_EVENT: event->kind = BH_YAML_DOCUMENT_END; break;
    case YAML_ALIAS_EVENT:
      event->kind = BH_YAML_ALIAS;
      event->name = (const char *)found->data.alias.anchor;
      break;
    case YAML_SCALAR_EVENT:
      event->kind = BH_YAML_SCALAR;
      event->name = (const char *)found->data.scalar.anchor;
      event->tag = (const char *)found->data.scalar.tag;
      event->text = found->data.scalar.value;
      event->length = found->data.scalar.length;
      event->is_plain = found->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
      event->is_literal = found->data.scalar.style == YAML_LITERAL_SCALAR_STYLE;
      break;
    case YAML_SEQUENCE_START_EVENT:
      event->kind = BH_YAML_SEQUENCE_START;
      event->name = (const char *)found->data.sequence_start.anchor;
      event->tag = (const char *)found->data.sequence_start.tag;
      break;
    case YAML_SEQUENCE_END_EVENT: event->kind = BH_YAML_SEQUENCE_END; break;
    case YAML_MAPPING_START_EVENT:
      event->kind = BH_YAML_MAPPING_START;
      event->name = (const char *)found->data.mapping_start.anchor;
      event->tag = (const char *)found->data.mapping_start.tag;
      break;
    case YAML_MAPPING_END_EVENT: event->kind = BH_YAML_MAPPING_END; break;
    // The end of the stream, or nothing at all, which comes after it.
    default: event->kind = BH_YAML_END; break;
  }
  return true;
}

bh_yaml_problem bh_yaml_problem_of(const bh_yaml_parser *parser) {
  const yaml_parser_t *failed = &parser->parser;
  bh_yaml_problem problem = {.text = failed->problem, .context = failed->context};
  if (failed->error == YAML_READER_ERROR) {
    problem.offset = failed->problem_offset;
  } else {
    problem.line = failed->problem_mark.line + 1;
    problem.column = failed->problem_mark.column + 1;
  }
  if (failed->context) problem.context_line = failed->context_mark.line + 1;
  return problem;
}
