// The events of libyaml's parser, one at a time: what a document says, before anything is made of it. Aliases are told, not
// expanded.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// A parser of one text.
typedef struct bh_yaml_parser bh_yaml_parser;

/// What an event is.
typedef enum bh_yaml_kind {
  /// The text is over.
  BH_YAML_END = 0,
  BH_YAML_DOCUMENT_START = 1,
  BH_YAML_DOCUMENT_END = 2,
  BH_YAML_ALIAS = 3,
  BH_YAML_SCALAR = 4,
  BH_YAML_SEQUENCE_START = 5,
  BH_YAML_SEQUENCE_END = 6,
  BH_YAML_MAPPING_START = 7,
  BH_YAML_MAPPING_END = 8,
} bh_yaml_kind;

/// One event. What its pointers lead to is there until the next one is asked for.
typedef struct bh_yaml_event {
  bh_yaml_kind kind;
  /// Where it begins, from 1; columns are characters.
  size_t line, column;
  /// An alias's or an anchor's name; NULL where there is none.
  const char *name;
  /// NULL where no tag is given.
  const char *tag;
  /// Of a scalar: UTF-8, which may hold NULs.
  const uint8_t *text;
  size_t length;
  /// Of a scalar: without quotes, and not a block.
  bool is_plain;
  /// Of a scalar: a literal block (`|`).
  bool is_literal;
} bh_yaml_event;

/// Why a parser cannot go on.
typedef struct bh_yaml_problem {
  /// NULL where memory is lacking.
  const char *text;
  /// From 1; 0 where `offset` says where it is.
  size_t line, column;
  /// In bytes.
  size_t offset;
  /// What was being read; NULL where nothing is known.
  const char *context;
  size_t context_line;
} bh_yaml_problem;

/// A parser of that UTF-8, which has to stay where it is; NULL where memory is lacking.
bh_yaml_parser *bh_yaml_open(const uint8_t *bytes, size_t count);

/// The next event; false where there is none because the text is no YAML, `bh_yaml_problem_of` says why then.
bool bh_yaml_next(bh_yaml_parser *parser, bh_yaml_event *event);

bh_yaml_problem bh_yaml_problem_of(const bh_yaml_parser *parser);

void bh_yaml_close(bh_yaml_parser *parser);
