/* The limit on a task's output file. */
#pragma once

#include <stdint.h>

/* Bytes in the file; 0 when it cannot be looked at. */
uint64_t output_size(const char *path);

/* How much longer than `max` output_trim may leave a file: its line about what was left out. */
#define OUTPUT_SLACK 128

/* Cuts a file of more than `max` bytes down to about that: its head, a line that says how much was
 * left out, and its last bytes. */
void output_trim(const char *path, uint64_t max);
