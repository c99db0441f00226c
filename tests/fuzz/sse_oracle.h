/*
 * What has to hold for every event stream, whoever makes it up: used by the fuzzer and by the unit
 * test of the join.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Parses `bytes` in one piece, in pieces cut by chance, and once more in pieces with the join
 * behind it, whose held event is flushed at some of the cuts. `seed` decides on cuts and flushes;
 * an even one cuts rarely. NULL, or what is wrong: constant text. */
const char *sse_oracle(const uint8_t *bytes, size_t len, uint64_t seed);

/* Events that the last call saw before and behind the join. */
extern size_t sse_oracle_plain, sse_oracle_joined;
