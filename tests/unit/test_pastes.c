/* Pastes: kept aside, labelled, and put back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/pastes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *paste(struct ah_pastes *pastes, const char *bytes, size_t len, size_t piece)
{
    ah_pastes_begin(pastes);
    for (size_t at = 0; at < len; at += piece) {
        ah_pastes_add(pastes, bytes + at, len - at < piece ? len - at : piece);
    }
    const char *text = NULL;
    assert_int_equal(ah_pastes_end(pastes, &text), 0);
    return text;
}

static void check_line(struct ah_pastes *pastes, const char *line, const char *wanted)
{
    struct ah_buf out;
    ah_buf_init(&out, 0);
    assert_int_equal(ah_pastes_expand(pastes, line, &out), 0);
    assert_string_equal(ah_buf_str(&out), wanted);
    ah_buf_clear(&out);
}

static void one_line_is_typed(void **state)
{
    (void)state;
    struct ah_pastes *pastes = ah_pastes_new();
    assert_string_equal(paste(pastes, "", 0, 1), "");
    assert_string_equal(paste(pastes, "plain", 5, 2), "plain");
    assert_string_equal(paste(pastes, "with its end\r\n", 14, 3), "with its end");
    assert_string_equal(paste(pastes, "a\tb\033[A\0\177", 8, 1), "a\tb [A  ");
    ah_pastes_free(pastes);
}

static void lines_get_a_label(void **state)
{
    (void)state;
    struct ah_pastes *pastes = ah_pastes_new();
    assert_string_equal(paste(pastes, "a\r\nb\rc\n\nd\n", 10, 1), "[paste 1: 5 lines]");
    assert_string_equal(paste(pastes, "x\ny", 3, 2), "[paste 2: 2 lines]");
    check_line(pastes, "see [paste 1: 5 lines], [paste 2: 2 lines][", "see a\nb\nc\n\nd, x\ny[");
    check_line(pastes, "[paste 1: 4 lines] [[paste 2: 2 lines]]", "[paste 1: 4 lines] [x\ny]");
    ah_pastes_clear(pastes);
    check_line(pastes, "[paste 1: 5 lines]", "[paste 1: 5 lines]");
    ah_pastes_free(pastes);
}

static void there_are_bounds(void **state)
{
    (void)state;
    struct ah_pastes *pastes = ah_pastes_new();
    char *much = malloc(AH_PASTE_BYTES + 10);
    assert_non_null(much);
    memset(much, 'm', AH_PASTE_BYTES + 10);
    assert_int_equal(strlen(paste(pastes, much, AH_PASTE_BYTES, 4096)), AH_PASTE_BYTES);
    const char *label = paste(pastes, much, AH_PASTE_BYTES + 10, 4096);
    assert_string_equal(label, "[paste 1: 1 lines, cut at 1 MiB]");
    free(much);
    for (int i = 1; i < AH_PASTES_MAX; i++) {
        paste(pastes, "a\nb", 3, 3);
    }
    const char *text;
    ah_pastes_begin(pastes);
    ah_pastes_add(pastes, "a\nb", 3);
    assert_int_equal(ah_pastes_end(pastes, &text), -ENOSPC);
    ah_pastes_free(pastes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_line_is_typed),
        cmocka_unit_test(lines_get_a_label),
        cmocka_unit_test(there_are_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
