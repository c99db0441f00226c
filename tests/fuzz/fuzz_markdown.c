/*
 * Markdown from anybody: no crash, no control character in what comes out, and what is shown of an
 * unfinished text is no longer than what its end shows.
 */
#include "core/markdown.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t render(const uint8_t *data, size_t size, size_t width, bool unfinished)
{
    struct ah_markdown_options options = {.width = width, .piece = 4096, .unfinished = unfinished};
    struct ah_buf out;
    ah_buf_init(&out, 0);
    if (ah_markdown_render((const char *)data, size, &options, &out) < 0) {
        abort();
    }
    size_t len = out.len;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)out.data[i];
        if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f) {
            abort();
        }
    }
    ah_buf_clear(&out);
    return len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0) {
        size_t whole = render(data + 1, size - 1, data[0], false);
        if (render(data + 1, size - 1, data[0], true) > whole) {
            abort();
        }
    }
    return 0;
}
