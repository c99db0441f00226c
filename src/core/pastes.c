#include "pastes.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct paste {
    char label[80];
    struct ah_buf text;
};

struct ah_pastes {
    struct paste kept[AH_PASTES_MAX];
    size_t count;
    struct ah_buf text; /* of the one that comes now */
    bool cut;           /* there was more of it than AH_PASTE_BYTES, or than memory */
};

struct ah_pastes *ah_pastes_new(void)
{
    struct ah_pastes *pastes = calloc(1, sizeof *pastes);
    if (pastes != NULL) {
        ah_buf_init(&pastes->text, 0);
    }
    return pastes;
}

void ah_pastes_clear(struct ah_pastes *pastes)
{
    for (size_t i = 0; i < pastes->count; i++) {
        ah_buf_clear(&pastes->kept[i].text);
    }
    pastes->count = 0;
}

void ah_pastes_free(struct ah_pastes *pastes)
{
    if (pastes != NULL) {
        ah_pastes_clear(pastes);
        ah_buf_clear(&pastes->text);
        free(pastes);
    }
}

void ah_pastes_begin(struct ah_pastes *pastes)
{
    ah_buf_clear(&pastes->text);
    pastes->cut = false;
}

void ah_pastes_add(struct ah_pastes *pastes, const char *bytes, size_t len)
{
    size_t room = AH_PASTE_BYTES - pastes->text.len;
    size_t taken = len < room ? len : room;
    bool failed = taken > 0 && ah_buf_add(&pastes->text, bytes, taken) < 0;
    pastes->cut = pastes->cut || failed || taken < len;
}

/* Line ends to LF, other control characters to spaces, in place. Returns the number of lines. */
static size_t tidy(struct ah_buf *text)
{
    size_t to = 0;
    size_t lines = 1;
    char before = '\0';
    for (size_t from = 0; from < text->len; from++) {
        char c = text->data[from];
        bool second = c == '\n' && before == '\r'; /* of a CR LF */
        before = c;
        if (second) {
            continue;
        }
        bool control = ((unsigned char)c < 0x20 && c != '\t') || c == 0x7f;
        text->data[to++] = c == '\r' || c == '\n' ? '\n' : control ? ' ' : c;
    }
    while (to > 0 && text->data[to - 1] == '\n') {
        to--;
    }
    text->len = to;
    for (size_t i = 0; i < to; i++) {
        lines += text->data[i] == '\n' ? 1 : 0;
    }
    return lines;
}

int ah_pastes_end(struct ah_pastes *pastes, const char **ret_text)
{
    size_t lines = tidy(&pastes->text);
    if (ah_buf_add(&pastes->text, "", 1) < 0) {
        return -ENOMEM;
    }
    pastes->text.len--;
    if (lines == 1 && !pastes->cut) {
        *ret_text = ah_buf_str(&pastes->text);
        return 0;
    }
    if (pastes->count == AH_PASTES_MAX) {
        return -ENOSPC;
    }
    struct paste *kept = &pastes->kept[pastes->count++];
    snprintf(kept->label, sizeof kept->label, "[paste %zu: %zu lines%s]", pastes->count, lines,
             pastes->cut ? ", cut at 1 MiB" : "");
    kept->text = pastes->text;
    ah_buf_init(&pastes->text, 0);
    *ret_text = kept->label;
    return 0;
}

static const struct paste *paste_at(const struct ah_pastes *pastes, const char *at)
{
    for (size_t i = 0; i < pastes->count; i++) {
        if (strncmp(at, pastes->kept[i].label, strlen(pastes->kept[i].label)) == 0) {
            return &pastes->kept[i];
        }
    }
    return NULL;
}

int ah_pastes_expand(const struct ah_pastes *pastes, const char *line, struct ah_buf *out)
{
    int rc = 0;
    while (rc == 0 && *line != '\0') {
        const char *label = strchr(line, '[');
        size_t plain = label != NULL ? (size_t)(label - line) : strlen(line);
        rc = ah_buf_add(out, line, plain);
        line += plain;
        if (rc == 0 && label != NULL) {
            const struct paste *paste = paste_at(pastes, label);
            rc = paste != NULL ? ah_buf_add(out, paste->text.data, paste->text.len)
                               : ah_buf_add(out, "[", 1);
            line += paste != NULL ? strlen(paste->label) : 1;
        }
    }
    return rc;
}
