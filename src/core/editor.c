#include "editor.h"

#include "clock.h"
#include "history.h"
#include "keys.h"
#include "libedit.h"
#include "pastes.h"
#include "prompt.h"
#include "terminal.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define READ_MAX ((size_t)64 * 1024)                     /* bytes taken by one feed */
#define PASTE_PATIENCE ((int64_t)3 * 1000 * 1000 * 1000) /* ns without a byte: its end got lost */
#define ESCAPE_PATIENCE ((int64_t)50 * 1000 * 1000) /* ns; a terminal sends a sequence at once */

struct ah_editor {
    struct ah_libedit *libedit; /* NULL: plain */
    struct ah_history *history;
    char *plain_prompt; /* owned; NULL unless plain */
    struct ah_buf in;   /* read, not yet a whole key (plain: a whole line) */
    int64_t in_time;    /* when the last of it came */
    struct ah_pastes *pastes;
    bool pasting; /* ESC [200~ came, its end did not */
    bool tab;     /* was pressed last */
    bool shown;   /* as the caller wants it */
    bool suspended;
};

/* ---- the screen ---- */

static void draw(struct ah_editor *ed, bool shown)
{
    if (ed->libedit == NULL) {
        fputs(shown ? ed->plain_prompt : "\n", stdout);
        fflush(stdout);
    } else if (shown) {
        ah_libedit_show(ed->libedit);
    } else {
        ah_libedit_hide(ed->libedit);
    }
}

void ah_editor_set_shown(struct ah_editor *ed, bool shown)
{
    if (ed->shown != shown && !ed->suspended) {
        draw(ed, shown);
    }
    ed->shown = shown; /* while suspended: resume draws it */
}

void ah_editor_print(struct ah_editor *ed, const char *text, size_t len)
{
    if (len == 0) {
        return;
    }
    bool shown = ed->shown;
    ah_editor_set_shown(ed, false);
    fwrite(text, 1, len, stdout);
    if (text[len - 1] != '\n') {
        fputs("\n", stdout);
    }
    fflush(stdout);
    ah_editor_set_shown(ed, shown);
}

int ah_editor_set_prompt(struct ah_editor *ed, const char *prompt)
{
    if (ed->libedit != NULL) {
        return ah_libedit_set_prompt(ed->libedit, prompt);
    }
    char *plain = ah_prompt_strip(prompt);
    if (plain == NULL) {
        return -ENOMEM;
    }
    free(ed->plain_prompt);
    ed->plain_prompt = plain;
    return 0;
}

void ah_editor_resize(struct ah_editor *ed)
{
    if (ed->libedit != NULL) {
        ah_libedit_resize(ed->libedit);
    }
}

void ah_editor_suspend(struct ah_editor *ed)
{
    if (ed->suspended) {
        return;
    }
    if (ed->shown) {
        draw(ed, false);
    }
    ed->suspended = true;
    if (ed->libedit != NULL) {
        ah_libedit_set_raw(ed->libedit, false);
        ah_terminal_restore();
    }
}

void ah_editor_resume(struct ah_editor *ed)
{
    if (!ed->suspended) {
        return;
    }
    ed->suspended = false;
    if (ed->libedit != NULL) {
        ah_terminal_take();
        ah_libedit_set_raw(ed->libedit, true);
        ah_terminal_bracket_pastes();
        ah_libedit_resize(ed->libedit); /* the size may have changed meanwhile */
    }
    if (ed->shown) {
        draw(ed, true);
    }
}

/* ---- keys ---- */

/* The line with the pastes in place of their labels. */
static int whole_text(const struct ah_editor *ed, struct ah_buf *out)
{
    struct ah_buf line;
    ah_buf_init(&line, 0);
    int rc = ah_libedit_text(ed->libedit, &line);
    rc = rc == 0 ? ah_pastes_expand(ed->pastes, ah_buf_str(&line), out) : rc;
    ah_buf_clear(&line);
    return rc;
}

/* What was pasted goes into the line: as it is when it is one line, else by its label. */
static bool insert_paste(struct ah_editor *ed)
{
    const char *text;
    if (ah_pastes_end(ed->pastes, &text) < 0) {
        return false;
    }
    ah_libedit_insert(ed->libedit, text, strlen(text));
    return true;
}

static void finish_paste(struct ah_editor *ed)
{
    ed->pasting = false;
    if (insert_paste(ed)) {
        ah_libedit_refresh(ed->libedit);
    } else {
        ah_libedit_beep(ed->libedit);
    }
}

/* Takes the bytes of a paste up to its end. Returns how many were used. */
static size_t take_paste(struct ah_editor *ed, const char *bytes, size_t len)
{
    const size_t end_len = strlen(AH_KEYS_PASTE_END);
    const char *end = memmem(bytes, len, AH_KEYS_PASTE_END, end_len);
    size_t text = end != NULL ? (size_t)(end - bytes) : len;
    const char *escape = end == NULL ? memrchr(bytes, '\033', len) : NULL;
    if (escape != NULL && (size_t)(bytes + len - escape) < end_len) {
        text = (size_t)(escape - bytes); /* perhaps half an end */
    }
    ah_pastes_add(ed->pastes, bytes, text);
    if (end == NULL) {
        return text;
    }
    finish_paste(ed);
    return text + end_len;
}

static void finish_line(struct ah_editor *ed, struct ah_buf *lines)
{
    size_t before = lines->len;
    if (whole_text(ed, lines) < 0 || ah_buf_add(lines, "", 1) < 0) {
        lines->len = before;
        ah_libedit_beep(ed->libedit); /* no memory: it stays where it is */
        return;
    }
    ah_libedit_enter(ed->libedit);
    ah_pastes_clear(ed->pastes);
    ah_history_leave(ed->history);
}

static void walk(struct ah_editor *ed, enum ah_key key)
{
    bool older = key == AH_KEY_OLDER || key == AH_KEY_SEARCH_OLDER;
    const char *line = NULL;
    struct ah_buf typed;
    ah_buf_init(&typed, 0);
    if (ah_libedit_text(ed->libedit, &typed) == 0) {
        line = key == AH_KEY_OLDER || key == AH_KEY_NEWER
                   ? ah_history_step(ed->history, older, ah_buf_str(&typed))
                   : ah_history_search(ed->history, older, ah_buf_str(&typed));
    }
    ah_buf_clear(&typed);
    if (line == NULL) {
        ah_libedit_beep(ed->libedit);
        return;
    }
    ah_libedit_replace(ed->libedit, line);
    ah_libedit_refresh(ed->libedit);
}

/* Does what a key does; true when it was the end of the input. */
static bool do_key(struct ah_editor *ed, enum ah_key key, const char *bytes, size_t len,
                   struct ah_buf *lines)
{
    if (key == AH_KEY_NONE) {
        return false;
    }
    if (key != AH_KEY_SEARCH_OLDER && key != AH_KEY_SEARCH_NEWER) {
        ah_history_end_search(ed->history);
    }
    switch (key) {
    case AH_KEY_TEXT:
        ah_libedit_insert(ed->libedit, bytes, len);
        ah_libedit_refresh(ed->libedit);
        return false;
    case AH_KEY_EOF:
        if (ah_libedit_length(ed->libedit) == 0) {
            return true;
        }
        ah_libedit_press(ed->libedit, AH_KEY_DELETE);
        return false;
    case AH_KEY_ENTER:
        finish_line(ed, lines);
        return false;
    case AH_KEY_TAB:
        ed->tab = true;
        return false;
    case AH_KEY_PASTE:
        ah_pastes_begin(ed->pastes);
        ed->pasting = true;
        return false;
    case AH_KEY_OLDER:
    case AH_KEY_NEWER:
    case AH_KEY_SEARCH_OLDER:
    case AH_KEY_SEARCH_NEWER:
        walk(ed, key);
        return false;
    default:
        ah_libedit_press(ed->libedit, key);
        return false;
    }
}

static bool take_keys(struct ah_editor *ed, struct ah_buf *lines)
{
    const struct ah_keys_chosen chosen = {.eof = ah_terminal_char(VEOF),
                                          .erase = ah_terminal_char(VERASE)};
    bool ended = false;
    size_t at = 0;
    while (at < ed->in.len && !ended) {
        enum ah_key key;
        const char *bytes = ed->in.data + at;
        if (ed->pasting) {
            size_t used = take_paste(ed, bytes, ed->in.len - at);
            at += used;
            if (used == 0) {
                break;
            }
            continue;
        }
        size_t len = ah_keys_cut(&chosen, bytes, ed->in.len - at, &key);
        if (len == 0) {
            break;
        }
        ed->tab = false;
        ended = do_key(ed, key, bytes, len, lines);
        at += len;
    }
    ah_buf_consume(&ed->in, at);
    return ended;
}

/* Plain: the terminal driver hands over whole lines. Returns whether there were any. */
static bool take_plain_lines(struct ah_editor *ed, struct ah_buf *lines)
{
    size_t before = lines->len;
    const char *newline;
    while (ed->in.len > 0 && (newline = memchr(ed->in.data, '\n', ed->in.len)) != NULL) {
        size_t len = (size_t)(newline - ed->in.data);
        for (size_t i = 0; i < len; i++) {
            ed->in.data[i] = ed->in.data[i] != '\0' ? ed->in.data[i] : ' ';
        }
        ed->in.data[len] = '\0';
        if (ah_buf_add(lines, ed->in.data, len + 1) < 0) {
            ed->in.data[len] = '\n'; /* no memory: it comes with a later feed */
            break;
        }
        ah_buf_consume(&ed->in, len + 1);
    }
    return lines->len > before;
}

bool ah_editor_feed(struct ah_editor *ed, struct ah_buf *lines)
{
    if (ed->suspended) {
        return false;
    }
    int64_t now = ah_clock_now();
    if (ed->pasting && now - ed->in_time > PASTE_PATIENCE) {
        finish_paste(ed);
    }
    if (ed->libedit != NULL && !ed->pasting && now - ed->in_time > AH_KEYS_PATIENCE &&
        *ah_buf_str(&ed->in) == '\033') {
        ah_buf_clear(&ed->in); /* somebody pressed ESC, and what comes now is something else */
    }
    size_t had = ed->in.len;
    bool gone = ah_terminal_read(&ed->in, READ_MAX);
    if (ed->in.len > had) {
        ed->in_time = now;
    }
    if (ed->libedit != NULL) {
        return take_keys(ed, lines) || gone;
    }
    if (take_plain_lines(ed, lines) && ed->shown && !gone) {
        draw(ed, true); /* the terminal has echoed the newline */
    }
    return gone;
}

bool ah_editor_take_escape(struct ah_editor *ed)
{
    bool alone = ed->libedit != NULL && !ed->pasting && ed->in.len == 1 &&
                 *ah_buf_str(&ed->in) == '\033' && ah_clock_now() - ed->in_time >= ESCAPE_PATIENCE;
    if (alone) {
        ah_buf_clear(&ed->in);
    }
    return alone;
}

bool ah_editor_take_tab(struct ah_editor *ed)
{
    bool tab = ed->tab;
    ed->tab = false;
    return tab;
}

/* ---- the half-typed line ---- */

int ah_editor_whole_text(const struct ah_editor *ed, struct ah_buf *out)
{
    return ed->libedit != NULL ? whole_text(ed, out) : ah_editor_text(ed, out);
}

int ah_editor_text(const struct ah_editor *ed, struct ah_buf *out)
{
    return ed->libedit != NULL ? ah_libedit_text(ed->libedit, out)
                               : ah_buf_add(out, ed->in.data, ed->in.len);
}

bool ah_editor_insert(struct ah_editor *ed, const char *text, size_t len)
{
    if (ed->libedit == NULL) {
        return false;
    }
    bool done = true;
    if (memchr(text, '\n', len) != NULL) {
        ah_pastes_begin(ed->pastes);
        ah_pastes_add(ed->pastes, text, len);
        done = insert_paste(ed);
    } else {
        ah_libedit_insert(ed->libedit, text, len);
    }
    if (!ed->suspended) {
        ah_libedit_refresh(ed->libedit);
    }
    return done;
}

void ah_editor_discard(struct ah_editor *ed)
{
    ah_buf_clear(&ed->in);
    ed->pasting = false;
    ah_pastes_clear(ed->pastes);
    ah_history_leave(ed->history);
    if (ed->libedit == NULL) {
        (void)tcflush(STDIN_FILENO, TCIFLUSH);
    } else if (ed->suspended) {
        ah_libedit_replace(ed->libedit, "");
    } else {
        ah_libedit_discard(ed->libedit);
    }
}

int ah_editor_remember(struct ah_editor *ed, const char *text, size_t len, struct ah_err *err)
{
    return ah_history_add(ed->history, text, len, err);
}

/* ---- the whole ---- */

static int start(struct ah_editor *ed, const struct ah_editor_options *options, struct ah_err *err)
{
    int rc = ah_history_new(options->history_max, options->history, &ed->history, err);
    if (rc == 0) {
        ed->pastes = ah_pastes_new();
        rc = ed->pastes != NULL ? 0 : ah_err_set(err, -ENOMEM, "out of memory");
    }
    if (rc == 0 && !ah_terminal_is_dumb()) {
        ah_terminal_take();
        rc = ah_libedit_new(options->prompt, &ed->libedit, err);
    }
    if (rc == 0 && ed->libedit != NULL) {
        ah_terminal_bracket_pastes();
    }
    if (rc == 0 && ed->libedit == NULL) {
        ah_terminal_restore();
        rc = ah_editor_set_prompt(ed, options->prompt);
        if (rc < 0) {
            ah_err_sys(err, rc, "cannot keep the prompt");
        }
    }
    return rc;
}

int ah_editor_new(const struct ah_editor_options *options, struct ah_editor **ret_editor,
                  struct ah_err *err)
{
    int rc = ah_terminal_open(err);
    if (rc < 0) {
        return rc;
    }
    struct ah_editor *ed = calloc(1, sizeof *ed);
    if (ed == NULL) {
        ah_terminal_close();
        return ah_err_set(err, -ENOMEM, "out of memory");
    }
    rc = start(ed, options, err);
    if (rc < 0) {
        ah_editor_free(ed);
        return rc;
    }
    *ret_editor = ed;
    return 0;
}

void ah_editor_free(struct ah_editor *ed)
{
    if (ed == NULL) {
        return;
    }
    ah_editor_set_shown(ed, false);
    ah_libedit_free(ed->libedit);
    ah_terminal_close();
    ah_history_free(ed->history);
    ah_buf_clear(&ed->in);
    ah_pastes_free(ed->pastes);
    free(ed->plain_prompt);
    free(ed);
}

bool ah_editor_is_plain(const struct ah_editor *ed)
{
    return ed->libedit == NULL;
}

int ah_editor_fd(const struct ah_editor *ed)
{
    (void)ed;
    return STDIN_FILENO;
}
