#include "libedit.h"

#include "io.h"
#include "prompt.h"
#include "terminal.h"
#include "utf8.h"

#include <errno.h>
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_CHARS_MAX ((size_t)1024 * 1024)

struct ah_libedit {
    EditLine *el;
    FILE *out; /* what libedit draws on */
    locale_t locale;
    wchar_t *prompt;     /* as ah_prompt_widen gives it; owned */
    wchar_t key;         /* the one that libedit may read; 0: none */
    unsigned char reply; /* what the own command answers libedit */
    bool shown;
    bool silent;         /* what libedit draws is dropped */
    bool mute_at_prompt; /* turn silent when libedit begins to draw */
};

/* Everything that edits is a command of libedit under a key that cannot be typed (C1 controls are
 * no keys), so that neither stty nor terminfo change what a key does. */
#define OWN_COMMAND AH_KEY_NONE /* answers le->reply */
#define COMMAND_KEY(key) ((wchar_t)(0x80 + (key)))
_Static_assert(AH_KEY_COUNT <= 32, "there are 32 C1 controls");

static const wchar_t *const command_names[AH_KEY_COUNT] = {
    [OWN_COMMAND] = L"agenthost",
    [AH_KEY_ENTER] = L"ed-newline",
    [AH_KEY_CLEAR_SCREEN] = L"ed-clear-screen",
    [AH_KEY_BEGIN] = L"ed-move-to-beg",
    [AH_KEY_END] = L"ed-move-to-end",
    [AH_KEY_LEFT] = L"ed-prev-char",
    [AH_KEY_RIGHT] = L"ed-next-char",
    [AH_KEY_WORD_LEFT] = L"ed-prev-word",
    [AH_KEY_WORD_RIGHT] = L"em-next-word",
    [AH_KEY_ERASE] = L"em-delete-prev-char",
    [AH_KEY_DELETE] = L"ed-delete-next-char",
    [AH_KEY_ERASE_WORD] = L"ed-delete-prev-word",
    [AH_KEY_DELETE_WORD] = L"em-delete-next-word",
    [AH_KEY_KILL_BEFORE] = L"vi-kill-line-prev",
    [AH_KEY_KILL_AFTER] = L"ed-kill-line",
    [AH_KEY_YANK] = L"em-yank",
    [AH_KEY_TRANSPOSE] = L"ed-transpose-chars",
    [AH_KEY_UPPER] = L"em-upper-case",
    [AH_KEY_LOWER] = L"em-lower-case",
    [AH_KEY_CAPITAL] = L"em-capitol-case",
};

/* ---- what libedit calls ---- */

static struct ah_libedit *self_of(EditLine *el)
{
    void *le = NULL;
    el_wget(el, EL_CLIENTDATA, &le);
    return le;
}

static int on_read(EditLine *el, wchar_t *ret_char)
{
    struct ah_libedit *le = self_of(el);
    if (le->key == 0) {
        errno = EAGAIN;
        return -1;
    }
    *ret_char = le->key;
    le->key = 0;
    return 1;
}

/* As el_wset wants it: el_set would want char *. */
static wchar_t *on_prompt(EditLine *el)
{
    struct ah_libedit *le = self_of(el);
    if (le->mute_at_prompt) {
        fflush(le->out); /* everything is off the screen now; the redraw that follows is not seen */
        le->mute_at_prompt = false;
        le->silent = true;
    }
    return le->prompt;
}

static unsigned char on_own_command(EditLine *el, wint_t key)
{
    (void)key;
    return self_of(el)->reply;
}

static ssize_t on_draw(void *cookie, const char *data, size_t len)
{
    const struct ah_libedit *le = cookie;
    if (!le->silent) {
        (void)ah_io_write_all(STDOUT_FILENO, data, len); /* when it hung up the input ends, too */
    }
    return (ssize_t)len;
}

/* ---- driving libedit ---- */

/* libedit asks the locale about every character that it draws; uselocale changes it for this thread
 * only. To be undone with uselocale(the result). */
static locale_t enter_locale(const struct ah_libedit *le)
{
    fflush(stdout); /* what was written comes before what is drawn now */
    return uselocale(le->locale);
}

static void press(struct ah_libedit *le, enum ah_key key)
{
    int ignored;
    locale_t before = enter_locale(le);
    le->key = COMMAND_KEY(key);
    (void)el_wgets(le->el, &ignored);
    le->key = 0;
    uselocale(before);
}

static void reply(struct ah_libedit *le, unsigned char code)
{
    le->reply = code;
    press(le, OWN_COMMAND);
}

static void erase(struct ah_libedit *le)
{
    if (!le->silent) {
        le->mute_at_prompt = true;
        reply(le, CC_REDISPLAY); /* clears its lines, and then draws: see on_prompt */
    }
}

/* All of it, wherever the cursor is. */
static void draw(struct ah_libedit *le, bool silent)
{
    locale_t before = enter_locale(le);
    le->silent = silent;
    el_wset(le->el, EL_REFRESH);
    uselocale(before);
}

void ah_libedit_press(struct ah_libedit *le, enum ah_key key)
{
    if (command_names[key] != NULL) {
        press(le, key);
    }
}

void ah_libedit_enter(struct ah_libedit *le)
{
    press(le, AH_KEY_ENTER);
    reply(le, CC_FATAL); /* "reset to known state": an empty line and a new prompt */
}

void ah_libedit_discard(struct ah_libedit *le)
{
    erase(le);
    reply(le, CC_FATAL);
    draw(le, !le->shown);
}

void ah_libedit_refresh(struct ah_libedit *le)
{
    reply(le, CC_REFRESH);
}

void ah_libedit_beep(struct ah_libedit *le)
{
    reply(le, CC_ERROR);
}

void ah_libedit_show(struct ah_libedit *le)
{
    le->shown = true;
    draw(le, false);
}

void ah_libedit_hide(struct ah_libedit *le)
{
    le->shown = false;
    erase(le);
}

int ah_libedit_set_prompt(struct ah_libedit *le, const char *prompt)
{
    locale_t before = enter_locale(le);
    wchar_t *wide = ah_prompt_widen(prompt);
    uselocale(before);
    if (wide == NULL) {
        return -ENOMEM;
    }
    bool drawn = le->shown; /* before the first time there is nothing to erase, nor an le->el */
    if (drawn) {
        erase(le);
    }
    free(le->prompt);
    le->prompt = wide;
    if (drawn) {
        draw(le, false);
    }
    return 0;
}

/* ---- the text ---- */

size_t ah_libedit_length(const struct ah_libedit *le)
{
    const LineInfoW *line = el_wline(le->el);
    return (size_t)(line->lastchar - line->buffer);
}

int ah_libedit_text(const struct ah_libedit *le, struct ah_buf *out)
{
    const LineInfoW *line = el_wline(le->el);
    int rc = ah_buf_reserve(out, (size_t)(line->lastchar - line->buffer) * AH_UTF8_MAX + 1);
    for (const wchar_t *c = line->buffer; c < line->lastchar && rc == 0; c++) {
        char bytes[AH_UTF8_MAX];
        rc = ah_buf_add(out, bytes, ah_utf8_encode((uint32_t)*c, bytes));
    }
    return rc;
}

static void insert_wide(struct ah_libedit *le, wchar_t *text, size_t count)
{
    text[count] = L'\0';
    if (count > 0 &&
        (ah_libedit_length(le) + count > LINE_CHARS_MAX || el_winsertstr(le->el, text) != 0)) {
        ah_libedit_beep(le);
    }
}

void ah_libedit_insert(struct ah_libedit *le, const char *text, size_t len)
{
    wchar_t wide[1024];
    size_t count = 0;
    for (size_t at = 0; at < len;) {
        uint32_t c;
        size_t used = ah_utf8_decode(text + at, len - at, &c);
        if (used == 0) {
            break; /* half a character at the end */
        }
        at += used;
        bool control = c < 0x20 || (c >= 0x7f && c < 0xa0);
        wide[count++] = control && c != '\t' ? L' ' : (wchar_t)c;
        if (count == sizeof wide / sizeof *wide - 1) {
            insert_wide(le, wide, count);
            count = 0;
        }
    }
    insert_wide(le, wide, count);
}

void ah_libedit_replace(struct ah_libedit *le, const char *text)
{
    const LineInfoW *line = el_wline(le->el);
    el_cursor(le->el, (int)(line->lastchar - line->cursor));
    el_wdeletestr(le->el, (int)ah_libedit_length(le));
    ah_libedit_insert(le, text, strlen(text));
}

/* ---- another size ---- */

/* Moves (row, column) over one character as libedit would draw it. */
static void advance(size_t width, wchar_t c, size_t *row, size_t *column)
{
    int cells = wcwidth(c);
    if (c == L'\t') {
        cells = 8 - (int)(*column % 8);
    } else if (cells < 0) {
        cells = c < 0x100 ? 2 : 8; /* ^X, \U+XXXX */
    } else if (cells > 1 && *column + (size_t)cells > width) {
        *row += 1;
        *column = 0;
    }
    *column += (size_t)cells;
    *row += *column / width;
    *column %= width;
}

/* The cursor's row, counted from the prompt's, on a terminal of that width. */
static size_t cursor_row(const struct ah_libedit *le, size_t width)
{
    size_t row = 0;
    size_t column = 0;
    bool escape = false;
    for (const wchar_t *c = le->prompt; *c != L'\0'; c++) {
        if (*c == 1) {
            escape = !escape;
        } else if (!escape) {
            advance(width, *c, &row, &column);
        }
    }
    const LineInfoW *line = el_wline(le->el);
    for (const wchar_t *c = line->buffer; c < line->cursor; c++) {
        advance(width, *c, &row, &column);
    }
    return row;
}

/* Terminals of today have already laid the text out anew, so libedit's own idea of where it drew is
 * of no use: the rows are counted at the new width, cleared (with ANSI sequences, which everything
 * that changes its size understands) and drawn again. */
void ah_libedit_resize(struct ah_libedit *le)
{
    size_t width;
    size_t height;
    ah_terminal_size(&width, &height);
    locale_t before = enter_locale(le);
    if (!le->silent) {
        size_t rows = cursor_row(le, width);
        rows = height > 0 && rows >= height ? height - 1 : rows;
        /* From column 1: tmux copies the screen to its history when it is cleared from 0,0. */
        fputs("\r\033[C\033[J\r\033[K", le->out);
        while (rows-- > 0) {
            fputs("\033[A\033[K", le->out);
        }
        fflush(le->out);
    }
    le->silent = true;
    el_resize(le->el);
    draw(le, true); /* at once: its cursor may lie outside the new, smaller screen */
    draw(le, !le->shown);
    uselocale(before);
}

/* ---- starting and ending ---- */

static locale_t utf8_locale(void)
{
    locale_t locale = newlocale(LC_CTYPE_MASK, "", (locale_t)0);
    if (locale != (locale_t)0 && strcmp(nl_langinfo_l(CODESET, locale), "UTF-8") == 0) {
        return locale;
    }
    if (locale != (locale_t)0) {
        freelocale(locale);
    }
    return newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
}

void ah_libedit_set_raw(struct ah_libedit *le, bool raw)
{
    el_wset(le->el, EL_PREP_TERM, raw ? 1 : 0);
}

/* 1 when it is ready, 0 when the terminal cannot do what it takes, or -ENOMEM. */
static int start(struct ah_libedit *le)
{
    le->out = fopencookie(le, "w", (cookie_io_functions_t){.write = on_draw});
    if (le->out == NULL) {
        return -ENOMEM;
    }
    le->el = el_init_fd("agenthost", stdin, le->out, le->out, STDIN_FILENO, STDOUT_FILENO,
                        STDOUT_FILENO);
    if (le->el == NULL) {
        return -ENOMEM;
    }
    char *up = NULL;
    char *clear = NULL;
    el_wget(le->el, EL_GETTC, "up", &up);
    el_wget(le->el, EL_GETTC, "ce", &clear);
    if (up == NULL || clear == NULL) {
        return 0;
    }
    el_wset(le->el, EL_CLIENTDATA, le);
    el_wset(le->el, EL_SIGNAL, 0);
    el_wset(le->el, EL_PROMPT_ESC, on_prompt, 1);
    el_wset(le->el, EL_EDITOR, L"emacs");
    el_wset(le->el, EL_GETCFN, on_read);
    el_wset(le->el, EL_ADDFN, command_names[OWN_COMMAND], L"a reply for libedit", on_own_command);
    for (int key = 0; key < AH_KEY_COUNT; key++) {
        if (command_names[key] != NULL) {
            wchar_t bytes[] = {COMMAND_KEY(key), L'\0'};
            el_wset(le->el, EL_BIND, bytes, command_names[key], NULL);
        }
    }
    el_wset(le->el, EL_UNBUFFERED, 1); /* raw mode from here on */
    return 1;
}

int ah_libedit_new(const char *prompt, struct ah_libedit **ret_libedit, struct ah_err *err)
{
    struct ah_libedit *le = calloc(1, sizeof *le);
    if (le == NULL) {
        return ah_err_sys(err, -ENOMEM, "cannot start libedit");
    }
    le->silent = true;
    le->locale = utf8_locale();
    if (le->locale == (locale_t)0) {
        free(le);
        return ah_err_set(err, -ENOTSUP, "there is no UTF-8 locale, not even C.UTF-8");
    }
    int rc = ah_libedit_set_prompt(le, prompt);
    if (rc == 0) {
        locale_t before = enter_locale(le);
        rc = start(le);
        uselocale(before);
    }
    if (rc < 0) {
        ah_err_sys(err, rc, "cannot start libedit");
    }
    if (rc <= 0) {
        ah_libedit_free(le);
        le = NULL;
    }
    if (rc >= 0) {
        *ret_libedit = le;
    }
    return rc < 0 ? rc : 0;
}

void ah_libedit_free(struct ah_libedit *le)
{
    if (le == NULL) {
        return;
    }
    locale_t before = enter_locale(le);
    le->silent = true;
    if (le->el != NULL) {
        /* Else el_end does tcsetattr(TCSAFLUSH), which throws away what is typed ahead. */
        el_wset(le->el, EL_EDITMODE, 0);
        el_end(le->el);
    }
    if (le->out != NULL) {
        fclose(le->out);
    }
    uselocale(before);
    freelocale(le->locale);
    free(le->prompt);
    free(le);
}
