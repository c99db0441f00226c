/* Prompts: what libedit has to be told about colours, and what is left without them. */
#include "core/prompt.h"

#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void check(const char *text, const wchar_t *wide, const char *plain)
{
    wchar_t *got_wide = ah_prompt_widen(text);
    char *got_plain = ah_prompt_strip(text);
    assert_non_null(got_wide);
    assert_int_equal(wcscmp(got_wide, wide), 0);
    assert_string_equal(got_plain, plain);
    free(got_wide);
    free(got_plain);
}

static void test_prompts(void **state)
{
    (void)state;
    check("", L"", "");
    check("> ", L"> ", "> ");
    check("\u65e5\u00e9> ", L"\u65e5\u00e9> ", "\u65e5\u00e9> ");
    check("a\tb\r\nc\1\177", L"abc", "abc"); /* one line, and no mark of its own */
    check("\033[1m\033[32m>\033[0m ", L"\1\033[1m\033[32m\1>\1\033[0m\1 ", "> ");
    check("\033[31mx> \033[0m", L"\1\033[31m\1x>\1\033[0m\1 ", "x> "); /* before the space */
    check("\033[31mx>\033[0m", L"\1\033[31m\1x>\1\033[0m\1 ", "x>");   /* which it gets */
    check("\033[31m", L"\1\033[31m\1 ", "");
    check("\033[3", L"\1\033[3\1 ", ""); /* cut off */
    check("a\033b", L"ab", "ab");
    check("a\xff\xc3z\xe6\x97", L"a\ufffd\ufffdz", "a\xff\xc3z\xe6\x97");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_prompts)};
    if (setlocale(LC_CTYPE, "C.UTF-8") == NULL) {
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
