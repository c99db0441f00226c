/*
 * agenthost.line: one edited line at the bottom of the terminal, for a program that waits
 * elsewhere.
 *
 * The reactor watches stdin; when it is readable Lua calls editor:feed(), which never blocks.
 * libedit keeps the text and draws it. What it is not given:
 *
 * - Reading. Its own reader blocks inside a key (a lone ESC, half a UTF-8 character, ^R, ^V), and
 *   with it the whole host. So bytes are read and cut into keys here, and libedit is handed one
 *   complete command at a time. That needs histedit.h with EL_UNBUFFERED and EL_GETCFN: the
 *   callback functions of readline.h are the same thing without EL_GETCFN.
 * - The history: libedit keeps only 1,024 characters of the half-typed line while older lines are
 *   looked at, and drops a trailing space.
 * - ~/.editrc: it could bind commands that block.
 *
 * While the editor is hidden libedit goes on as ever, but what it draws is dropped; EL_REFRESH
 * draws all of it again wherever the cursor then stands. On a terminal that cannot be drawn on
 * ("plain", TERM=dumb) the terminal driver edits the line and none of libedit is used.
 */
#include "binding.h"
#include "core/buf.h"
#include "core/clock.h"
#include "core/io.h"

#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <langinfo.h>
#include <limits.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#define TYPE "agenthost.line.editor"

enum {
    READ_MAX = 64 * 1024,                /* bytes taken by one feed */
    LINE_MAX_CHARS = 1024 * 1024,        /* of one line being typed */
    HISTORY_LINE_MAX = 64 * 1024,        /* longer lines are not remembered */
    HISTORY_FILE_MAX = 4 * 1024 * 1024,  /* this much of its end is read */
    ESCAPE_MAX = 32,                     /* bytes of one escape sequence */
    ESCAPE_PATIENCE = 500 * 1000 * 1000, /* ns that the rest of a sequence may take */
};

/* ---- the terminal's modes, and every way out ---- */

/* atexit and signal handlers get no argument, and a process has one terminal: this is why it is
 * static, and why there is one editor a process. `taken` is set while the modes are not the saved
 * ones; `pid` keeps a forked child from touching its parent's terminal. */
static struct {
    volatile sig_atomic_t taken;
    pid_t pid;
    bool open;
    bool at_exit;
    struct termios modes;
} terminal;

static const int fatal_signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGABRT,
                                    SIGBUS, SIGFPE, SIGSEGV, SIGTERM};

/* Async-signal-safe. Not from the background, where setting modes would stop the process (SIGTTOU)
 * and the terminal belongs to somebody else. TCSANOW: draining waits for ever after ^S. */
static void restore_modes(void)
{
    if (!terminal.taken || terminal.pid != getpid()) {
        return;
    }
    pid_t foreground = tcgetpgrp(STDIN_FILENO);
    if (foreground > 0 && foreground != getpgrp()) {
        return;
    }
    while (tcsetattr(STDIN_FILENO, TCSANOW, &terminal.modes) == -1 && errno == EINTR) {
    }
    terminal.taken = 0;
}

static void on_fatal_signal(int signal)
{
    int saved = errno;
    restore_modes();
    errno = saved;
    raise(signal); /* SA_RESETHAND: now with its default, as soon as this handler returns */
}

/* Signals that nobody handles would leave the terminal raw. The ones that the reactor or a
 * sanitizer handles, now or later, are theirs. */
static void catch_fatal_signals(bool catch)
{
    for (size_t i = 0; i < sizeof fatal_signals / sizeof *fatal_signals; i++) {
        struct sigaction now;
        if (sigaction(fatal_signals[i], NULL, &now) != 0) {
            continue;
        }
        bool plain = (now.sa_flags & SA_SIGINFO) == 0;
        struct sigaction next = {.sa_handler = SIG_DFL};
        if (catch && plain && now.sa_handler == SIG_DFL) {
            next.sa_handler = on_fatal_signal;
            next.sa_flags = (int)SA_RESETHAND;
        } else if (catch || !plain || now.sa_handler != on_fatal_signal) {
            continue;
        }
        sigaction(fatal_signals[i], &next, NULL);
    }
}

/* ---- the editor ---- */

struct history {
    char **lines; /* oldest first; owned */
    size_t count;
    size_t max;
    char *path;    /* owned; NULL: not kept on disk */
    size_t back;   /* how many lines before the half-typed one is shown; 0: none */
    char *draft;   /* the half-typed line while back > 0; owned */
    char *pattern; /* what ^R looks for, while it is being repeated; owned */
};

struct editor {
    EditLine *el; /* NULL: plain */
    FILE *out;    /* what libedit draws on */
    locale_t locale;
    char *prompt;         /* as given; owned */
    wchar_t *prompt_wide; /* for libedit, escape sequences marked; owned */
    struct history history;
    struct ah_buf in;    /* read, not yet a whole key (or, plain, a whole line) */
    int64_t in_time;     /* when the last of it came */
    struct ah_buf lines; /* finished, each with a NUL behind it, not yet given to Lua */
    wchar_t key;         /* the one that libedit may read; 0: none */
    unsigned char reply; /* what the own command answers libedit */
    bool silent;         /* what libedit draws is dropped */
    bool mute_at_prompt; /* turn silent when libedit begins to draw */
    bool shown;
    bool suspended;
    bool ended;
    bool open;
};

/* Everything that edits is a command of libedit under a key that cannot be typed (C1 controls are
 * dropped), so that neither stty nor terminfo change what a key does. */
enum command {
    CMD_OWN, /* answers ed->reply */
    CMD_BEGIN,
    CMD_END,
    CMD_LEFT,
    CMD_RIGHT,
    CMD_WORD_LEFT,
    CMD_WORD_RIGHT,
    CMD_ERASE,
    CMD_DELETE,
    CMD_ERASE_WORD,
    CMD_DELETE_WORD,
    CMD_KILL_BEFORE,
    CMD_KILL_AFTER,
    CMD_YANK,
    CMD_TRANSPOSE,
    CMD_UPPER,
    CMD_LOWER,
    CMD_CAPITAL,
    CMD_CLEAR_SCREEN,
    CMD_NEWLINE,
    CMD_COUNT,
    /* the rest is done here */
    DO_OLDER = CMD_COUNT,
    DO_NEWER,
    DO_SEARCH_OLDER,
    DO_SEARCH_NEWER,
    DO_NOTHING,
};

static const wchar_t *const command_names[CMD_COUNT] = {
    [CMD_OWN] = L"agenthost",
    [CMD_BEGIN] = L"ed-move-to-beg",
    [CMD_END] = L"ed-move-to-end",
    [CMD_LEFT] = L"ed-prev-char",
    [CMD_RIGHT] = L"ed-next-char",
    [CMD_WORD_LEFT] = L"ed-prev-word",
    [CMD_WORD_RIGHT] = L"em-next-word",
    [CMD_ERASE] = L"em-delete-prev-char",
    [CMD_DELETE] = L"ed-delete-next-char",
    [CMD_ERASE_WORD] = L"ed-delete-prev-word",
    [CMD_DELETE_WORD] = L"em-delete-next-word",
    [CMD_KILL_BEFORE] = L"vi-kill-line-prev",
    [CMD_KILL_AFTER] = L"ed-kill-line",
    [CMD_YANK] = L"em-yank",
    [CMD_TRANSPOSE] = L"ed-transpose-chars",
    [CMD_UPPER] = L"em-upper-case",
    [CMD_LOWER] = L"em-lower-case",
    [CMD_CAPITAL] = L"em-capitol-case",
    [CMD_CLEAR_SCREEN] = L"ed-clear-screen",
    [CMD_NEWLINE] = L"ed-newline",
};

#define COMMAND_KEY(command) ((wchar_t)(0x80 + (command)))

struct key {
    const char *bytes; /* behind ESC for the second table */
    enum command command;
};

static const struct key control_keys[] = {
    {"\1", CMD_BEGIN},        {"\2", CMD_LEFT},          {"\5", CMD_END},
    {"\6", CMD_RIGHT},        {"\10", CMD_ERASE},        {"\177", CMD_ERASE},
    {"\13", CMD_KILL_AFTER},  {"\14", CMD_CLEAR_SCREEN}, {"\16", DO_NEWER},
    {"\20", DO_OLDER},        {"\22", DO_SEARCH_OLDER},  {"\24", CMD_TRANSPOSE},
    {"\25", CMD_KILL_BEFORE}, {"\27", CMD_ERASE_WORD},   {"\31", CMD_YANK},
    {"\12", CMD_NEWLINE},     {"\15", CMD_NEWLINE},
};

static const struct key escape_keys[] = {
    {"[A", DO_OLDER},          {"[B", DO_NEWER},           {"[C", CMD_RIGHT},
    {"[D", CMD_LEFT},          {"[H", CMD_BEGIN},          {"[F", CMD_END},
    {"OA", DO_OLDER},          {"OB", DO_NEWER},           {"OC", CMD_RIGHT},
    {"OD", CMD_LEFT},          {"OH", CMD_BEGIN},          {"OF", CMD_END},
    {"[1~", CMD_BEGIN},        {"[4~", CMD_END},           {"[7~", CMD_BEGIN},
    {"[8~", CMD_END},          {"[3~", CMD_DELETE},        {"[5~", DO_SEARCH_OLDER},
    {"[6~", DO_SEARCH_NEWER},  {"[1;5C", CMD_WORD_RIGHT},  {"[1;5D", CMD_WORD_LEFT},
    {"[1;3C", CMD_WORD_RIGHT}, {"[1;3D", CMD_WORD_LEFT},   {"[5C", CMD_WORD_RIGHT},
    {"[5D", CMD_WORD_LEFT},    {"[3;5~", CMD_DELETE_WORD}, {"b", CMD_WORD_LEFT},
    {"f", CMD_WORD_RIGHT},     {"d", CMD_DELETE_WORD},     {"\177", CMD_ERASE_WORD},
    {"\10", CMD_ERASE_WORD},   {"u", CMD_UPPER},           {"l", CMD_LOWER},
    {"c", CMD_CAPITAL},        {"p", DO_SEARCH_OLDER},     {"n", DO_SEARCH_NEWER},
};

static enum command find_key(const struct key *keys, size_t count, const char *bytes, size_t len)
{
    for (size_t i = 0; i < count; i++) {
        if (strlen(keys[i].bytes) == len && memcmp(keys[i].bytes, bytes, len) == 0) {
            return keys[i].command;
        }
    }
    return DO_NOTHING;
}

/* ---- what libedit calls ---- */

static struct editor *editor_of(EditLine *el)
{
    void *ed = NULL;
    el_wget(el, EL_CLIENTDATA, &ed);
    return ed;
}

static int on_read(EditLine *el, wchar_t *ret_char)
{
    struct editor *ed = editor_of(el);
    if (ed->key == 0) {
        errno = EAGAIN;
        return -1;
    }
    *ret_char = ed->key;
    ed->key = 0;
    return 1;
}

/* As el_wset wants it: el_set would want char *. */
static wchar_t *on_prompt(EditLine *el)
{
    struct editor *ed = editor_of(el);
    if (ed->mute_at_prompt) {
        fflush(ed->out); /* everything is off the screen now; the redraw that follows is not seen */
        ed->mute_at_prompt = false;
        ed->silent = true;
    }
    return ed->prompt_wide;
}

static unsigned char on_own_command(EditLine *el, wint_t key)
{
    (void)key;
    return editor_of(el)->reply;
}

static ssize_t on_draw(void *cookie, const char *data, size_t len)
{
    const struct editor *ed = cookie;
    if (!ed->silent) {
        (void)ah_io_write_all(STDOUT_FILENO, data,
                              len); /* a terminal that hung up ends the input */
    }
    return (ssize_t)len;
}

/* ---- driving libedit; all of this between enter() and leave() ---- */

/* libedit asks the locale about every character. Ours is UTF-8 whatever LANG says, as all text of
 * the host is; uselocale changes it for this thread only. */
static locale_t enter(const struct editor *ed)
{
    fflush(stdout); /* what Lua has written comes before what is drawn now */
    return uselocale(ed->locale);
}

static void leave(locale_t before)
{
    uselocale(before);
}

static void press(struct editor *ed, enum command command)
{
    int count;
    ed->key = COMMAND_KEY(command);
    (void)el_wgets(ed->el, &count);
    ed->key = 0;
}

static void reply(struct editor *ed, unsigned char code)
{
    ed->reply = code;
    press(ed, CMD_OWN);
}

static void erase(struct editor *ed)
{
    if (!ed->silent) {
        ed->mute_at_prompt = true;
        reply(ed, CC_REDISPLAY); /* clears its lines, and then draws: see on_prompt */
    }
}

static void draw(struct editor *ed)
{
    ed->silent = !ed->shown || ed->suspended;
    el_wset(ed->el, EL_REFRESH);
}

static size_t text_length(const struct editor *ed)
{
    const LineInfoW *line = el_wline(ed->el);
    return (size_t)(line->lastchar - line->buffer);
}

/* One character from at most `len` (> 0) bytes: how many bytes it took, 0 when it is not whole yet.
 * What is not UTF-8 becomes U+FFFD. */
static size_t decode(const char *bytes, size_t len, wchar_t *ret_char)
{
    mbstate_t state = {0};
    size_t used = mbrtowc(ret_char, bytes, len, &state);
    if (used == (size_t)-2) {
        return 0;
    }
    if (used == (size_t)-1 || used == 0) {
        *ret_char = 0xFFFD;
        return 1;
    }
    return used;
}

static bool is_control(wchar_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0);
}

/* Puts text in at the cursor, without drawing. Control characters are taken from `stop_at_control`
 * on: either they end it, or they become spaces. Returns the bytes used. */
static size_t insert(struct editor *ed, const char *bytes, size_t len, bool stop_at_control)
{
    wchar_t text[1024];
    size_t count = 0;
    size_t at = 0;
    while (at < len) {
        wchar_t c;
        size_t used = decode(bytes + at, len - at, &c);
        if (used == 0) {
            break;
        }
        if (c < 0x20 && c != '\t' && stop_at_control) {
            break;
        }
        if (c == 0x7f && stop_at_control) {
            break;
        }
        at += used;
        if (is_control(c) && c != '\t') {
            if (stop_at_control) {
                continue; /* C1 */
            }
            c = ' ';
        }
        text[count++] = c;
        if (count == sizeof text / sizeof *text - 1 || at == len) {
            text[count] = 0;
            if (text_length(ed) + count > LINE_MAX_CHARS || el_winsertstr(ed->el, text) != 0) {
                reply(ed, CC_ERROR); /* beep */
            }
            count = 0;
        }
    }
    text[count] = 0;
    if (count > 0 &&
        (text_length(ed) + count > LINE_MAX_CHARS || el_winsertstr(ed->el, text) != 0)) {
        reply(ed, CC_ERROR);
    }
    return at;
}

/* Adds the half-typed line as UTF-8. 0 or -ENOMEM, then nothing is added. */
static int add_text(struct editor *ed, struct ah_buf *buf)
{
    const LineInfoW *line = el_wline(ed->el);
    int rc = ah_buf_reserve(buf, text_length(ed) * MB_LEN_MAX + 1);
    if (rc < 0) {
        return rc;
    }
    for (const wchar_t *c = line->buffer; c < line->lastchar; c++) {
        char bytes[MB_LEN_MAX];
        mbstate_t state = {0};
        size_t len = wcrtomb(bytes, *c, &state);
        if (len != (size_t)-1 && *c != 0) {
            ah_buf_add(buf, bytes, len);
        }
    }
    return 0;
}

static void replace_text(struct editor *ed, const char *text)
{
    const LineInfoW *line = el_wline(ed->el);
    el_cursor(ed->el, (int)(line->lastchar - line->cursor));
    el_wdeletestr(ed->el, (int)text_length(ed));
    insert(ed, text, strlen(text), false);
}

/* ---- history ---- */

static void history_forget_draft(struct history *history)
{
    free(history->draft);
    free(history->pattern);
    history->draft = NULL;
    history->pattern = NULL;
    history->back = 0;
}

static void history_clear(struct history *history)
{
    for (size_t i = 0; i < history->count; i++) {
        free(history->lines[i]);
    }
    free(history->lines);
    free(history->path);
    history_forget_draft(history);
    *history = (struct history){0};
}

/* Remembers a line; control characters become spaces, so that it is one line of the file. Returns
 * whether it is new (neither empty, too long, nor the same as the last one). */
static bool history_remember(struct history *history, const char *text, size_t len)
{
    if (len == 0 || len > HISTORY_LINE_MAX || history->max == 0) {
        return false;
    }
    char *line = strndup(text, len);
    if (line == NULL) {
        return false;
    }
    bool blank = true;
    for (char *c = line; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            *c = ' ';
        }
        blank = blank && *c == ' ';
    }
    if (blank || (history->count > 0 && strcmp(history->lines[history->count - 1], line) == 0)) {
        free(line);
        return false;
    }
    if (history->count == history->max) {
        free(history->lines[0]);
        history->count--;
        memmove(history->lines, history->lines + 1, history->count * sizeof *history->lines);
    }
    history->lines[history->count++] = line;
    if (history->back > 0 && history->back < history->count) {
        history->back++;
    }
    return true;
}

/* Writes what is remembered in place of the file. Another host that appends at this very moment may
 * lose that line; a crash loses nothing. */
static int history_rewrite(const struct history *history)
{
    struct ah_buf name;
    struct ah_buf all;
    ah_buf_init(&name, 0);
    ah_buf_init(&all, 0);
    int fd = -1;
    int rc = ah_buf_addf(&name, "%s.%ld", history->path, (long)getpid());
    for (size_t i = 0; i < history->count && rc == 0; i++) {
        rc = ah_buf_addf(&all, "%s\n", history->lines[i]);
    }
    if (rc == 0) {
        fd = open(name.data, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        rc = fd < 0 ? -errno : ah_io_write_all(fd, ah_buf_str(&all), all.len);
        if (rc == 0 && rename(name.data, history->path) != 0) {
            rc = -errno;
        }
        if (fd >= 0 && rc < 0) {
            unlink(name.data);
        }
    }
    ah_io_close(&fd);
    ah_buf_clear(&name);
    ah_buf_clear(&all);
    return rc;
}

/* Opens the file to append to it: a descriptor or negative errno. It is opened each time, because
 * another host may have replaced it. */
static int history_open(const struct history *history, off_t *ret_size)
{
    int fd = open(history->path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
    if (fd < 0) {
        return -errno;
    }
    struct stat st;
    if (fstat(fd, &st) != 0) {
        int rc = -errno;
        ah_io_close(&fd);
        return rc;
    }
    if (S_ISREG(st.st_mode) && (st.st_mode & 077) != 0) {
        (void)fchmod(fd, 0600); /* what was typed is nobody else's business; not on /dev/null */
    }
    *ret_size = S_ISREG(st.st_mode) ? st.st_size : 0;
    return fd;
}

static int history_load(struct history *history, struct ah_err *err)
{
    off_t size = 0;
    struct ah_buf all;
    ah_buf_init(&all, 0);
    int fd = history_open(history, &size);
    int rc = fd < 0 ? fd : 0;
    if (rc < 0) {
        ah_err_sys(err, rc, "cannot open the history file '%s'", history->path);
        goto out;
    }
    /* As the file stands: the program may change its directory, and a rewrite keep a link. */
    char *real = realpath(history->path, NULL);
    if (real != NULL) {
        free(history->path);
        history->path = real;
    }
    off_t from = size > HISTORY_FILE_MAX ? size - HISTORY_FILE_MAX : 0;
    rc = ah_buf_reserve(&all, (size_t)(size - from) + 1);
    if (rc < 0) {
        ah_err_sys(err, rc, "cannot read the history file '%s'", history->path);
        goto out;
    }
    ssize_t got = pread(fd, all.data, (size_t)(size - from), from);
    all.len = got > 0 ? (size_t)got : 0;
    size_t lines = 0;
    const char *at = all.data;
    const char *end = all.data + all.len;
    if (from > 0 && all.len > 0) { /* the first one is cut */
        const char *newline = memchr(at, '\n', all.len);
        at = newline != NULL ? newline + 1 : end;
    }
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline != NULL ? newline : end;
        history_remember(history, at, (size_t)(stop - at));
        lines++;
        at = stop + 1;
    }
    if (all.len > 0 && end[-1] != '\n') { /* torn by a crash: the next line must not join it */
        (void)ah_io_write_all(fd, "\n", 1);
    }
    bool whole = got == (ssize_t)(size - from) && history->max > 0;
    if (whole && (from > 0 || lines > 2 * history->max)) {
        (void)history_rewrite(history);
    }
out:
    ah_io_close(&fd);
    ah_buf_clear(&all);
    return rc;
}

/* One write of the whole line, so that two hosts can share a file. 0 or negative errno. */
static int history_append(const struct history *history)
{
    off_t size;
    int fd = history_open(history, &size);
    if (fd < 0) {
        return fd;
    }
    struct ah_buf line;
    ah_buf_init(&line, 0);
    int rc = ah_buf_addf(&line, "%s\n", history->lines[history->count - 1]);
    if (rc == 0) {
        rc = ah_io_write_all(fd, line.data, line.len);
    }
    ah_buf_clear(&line);
    ah_io_close(&fd);
    return rc;
}

/* Shows the line `back` before the half-typed one. */
static void history_go(struct editor *ed, size_t back)
{
    struct history *history = &ed->history;
    if (history->back == 0) {
        struct ah_buf draft;
        ah_buf_init(&draft, 0);
        if (add_text(ed, &draft) < 0) {
            return;
        }
        free(history->draft);
        history->draft = strdup(ah_buf_str(&draft));
        ah_buf_clear(&draft);
        if (history->draft == NULL) {
            return;
        }
    }
    history->back = back;
    replace_text(ed, back == 0 ? history->draft : history->lines[history->count - back]);
    reply(ed, CC_REFRESH);
}

static void history_step(struct editor *ed, bool older)
{
    size_t back = ed->history.back;
    if (older ? back >= ed->history.count : back == 0) {
        reply(ed, CC_ERROR);
    } else {
        history_go(ed, older ? back + 1 : back - 1);
    }
}

/* The next line that has in it what is typed. In place of libedit's ^R, which blocks. */
static void history_search(struct editor *ed, bool older)
{
    struct history *history = &ed->history;
    if (history->pattern == NULL) {
        struct ah_buf text;
        ah_buf_init(&text, 0);
        if (add_text(ed, &text) == 0) {
            history->pattern = strdup(ah_buf_str(&text));
        }
        ah_buf_clear(&text);
    }
    size_t back = history->back;
    while (history->pattern != NULL && (older ? back < history->count : back > 1)) {
        back = older ? back + 1 : back - 1;
        if (strstr(history->lines[history->count - back], history->pattern) != NULL) {
            history_go(ed, back);
            return;
        }
    }
    reply(ed, CC_ERROR);
}

/* ---- keys ---- */

static void finish_line(struct editor *ed)
{
    size_t before = ed->lines.len;
    if (add_text(ed, &ed->lines) < 0 || ah_buf_add(&ed->lines, "", 1) < 0) {
        ed->lines.len = before;
        reply(ed, CC_ERROR); /* no memory: it stays where it is */
        return;
    }
    press(ed, CMD_NEWLINE);
    history_forget_draft(&ed->history);
    reply(ed, CC_FATAL); /* "reset to known state": an empty line and a new prompt */
}

static void run_command(struct editor *ed, enum command command)
{
    if (command != DO_SEARCH_OLDER && command != DO_SEARCH_NEWER) {
        free(ed->history.pattern);
        ed->history.pattern = NULL;
    }
    switch (command) {
    case CMD_NEWLINE:
        finish_line(ed);
        break;
    case DO_OLDER:
    case DO_NEWER:
        history_step(ed, command == DO_OLDER);
        break;
    case DO_SEARCH_OLDER:
    case DO_SEARCH_NEWER:
        history_search(ed, command == DO_SEARCH_OLDER);
        break;
    case DO_NOTHING:
        break;
    default:
        press(ed, command);
        break;
    }
}

/* The length of the escape sequence at `bytes` (ESC first): 0 when more has to come. Sequences that
 * nobody asked for (bracketed paste, focus) are as long as they are, so they can be dropped. */
static size_t escape_length(const char *bytes, size_t len)
{
    if (len < 2) {
        return 0;
    }
    if (bytes[1] == '\033') {
        return 1; /* Alt with an arrow is ESC ESC [ A: the first ESC says nothing here */
    }
    if (bytes[1] == 'O') {
        return len < 3 ? 0 : 3;
    }
    if (bytes[1] != '[') {
        return 2;
    }
    size_t at = len > 2 && bytes[2] == '[' ? 3 : 2; /* ESC [ [ A: F1 on the Linux console */
    for (; at < len && at < ESCAPE_MAX; at++) {
        unsigned char c = (unsigned char)bytes[at];
        if (c >= 0x40 && c <= 0x7e) {
            return at + 1;
        }
        if (c < 0x20 || c > 0x7e) {
            return at; /* not a sequence after all */
        }
    }
    return at < ESCAPE_MAX ? 0 : at;
}

/* Handles the key at the start of the bytes and returns its length; 0 when it is not whole. */
static size_t take_key(struct editor *ed, const char *bytes, size_t len)
{
    if (*bytes == '\033') {
        size_t used = escape_length(bytes, len);
        if (used > 1) {
            run_command(ed, find_key(escape_keys, sizeof escape_keys / sizeof *escape_keys,
                                     bytes + 1, used - 1));
        }
        return used;
    }
    unsigned char c = (unsigned char)*bytes;
    if ((c >= 0x20 && c != 0x7f) || c == '\t') {
        size_t used = insert(ed, bytes, len, true);
        if (used > 0) {
            free(ed->history.pattern);
            ed->history.pattern = NULL;
            reply(ed, CC_REFRESH);
        }
        return used;
    }
    if (c != 0 && c == terminal.modes.c_cc[VEOF]) {
        if (text_length(ed) == 0) {
            ed->ended = true;
        } else {
            run_command(ed, CMD_DELETE);
        }
    } else if (c != 0 && c == terminal.modes.c_cc[VERASE]) {
        run_command(ed, CMD_ERASE);
    } else {
        run_command(ed,
                    find_key(control_keys, sizeof control_keys / sizeof *control_keys, bytes, 1));
    }
    return 1;
}

static void take_keys(struct editor *ed)
{
    size_t at = 0;
    while (at < ed->in.len && !ed->ended) {
        size_t used = take_key(ed, ed->in.data + at, ed->in.len - at);
        if (used == 0) {
            break;
        }
        at += used;
    }
    ah_buf_consume(&ed->in, at);
}

/* Plain: the terminal driver hands over whole lines. */
static void take_plain_lines(struct editor *ed)
{
    const char *newline;
    while (ed->in.len > 0 && (newline = memchr(ed->in.data, '\n', ed->in.len)) != NULL) {
        size_t len = (size_t)(newline - ed->in.data);
        if (ah_buf_reserve(&ed->lines, len + 1) < 0) {
            return;
        }
        for (size_t i = 0; i < len; i++) {
            ah_buf_add(&ed->lines, ed->in.data[i] != '\0' ? ed->in.data + i : " ", 1);
        }
        ah_buf_add(&ed->lines, "", 1);
        ah_buf_consume(&ed->in, len + 1);
    }
}

/* Reads what is there, without waiting and without O_NONBLOCK, which the terminal's other users
 * would get as well. */
static void read_input(struct editor *ed)
{
    int64_t now = ah_clock_now();
    if (ed->in.len > 0 && *ed->in.data == '\033' && now - ed->in_time > ESCAPE_PATIENCE) {
        ah_buf_clear(&ed->in); /* somebody pressed ESC, and what comes now is something else */
    }
    for (size_t total = 0; total < READ_MAX;) {
        struct pollfd poll_fd = {.fd = STDIN_FILENO, .events = POLLIN};
        if (poll(&poll_fd, 1, 0) <= 0 || ah_buf_reserve(&ed->in, 4096) < 0) {
            return;
        }
        ssize_t got = ah_io_read(STDIN_FILENO, ed->in.data + ed->in.len, 4096);
        if (got <= 0) {
            ed->ended = got != -EAGAIN; /* Ctrl-D when plain; else the terminal is gone */
            return;
        }
        ed->in.len += (size_t)got;
        ed->in.data[ed->in.len] = '\0';
        ed->in_time = now;
        total += (size_t)got;
        if (ed->el == NULL && ed->in.data[ed->in.len - 1] != '\n') {
            return; /* a line cut by Ctrl-D: a second one means the end, as ever */
        }
    }
}

/* ---- prompt ---- */

/* The length of the escape sequence (ESC [ ... letter) at `text`, or 0. */
static size_t prompt_escape(const char *text)
{
    if (text[0] != '\033' || text[1] != '[') {
        return 0;
    }
    size_t len = 2 + strspn(text + 2, "0123456789;:?");
    return text[len] != '\0' ? len + 1 : len;
}

/* libedit prints an escape sequence together with the character behind it, which must be there
 * and have a width; two sequences side by side, or one at the end, are lost. So neighbours become
 * one, and one at the end goes in front of the prompt's last space. Control characters go, except
 * in sequences. NULL: no memory. */
static wchar_t *widen_prompt(const char *text)
{
    size_t len = strlen(text);
    wchar_t *wide = calloc(3 * len + 8, sizeof *wide);
    size_t count = 0;
    bool marked = false;
    size_t mark = 0; /* where the last sequence starts */
    for (size_t at = 0; wide != NULL && at < len;) {
        size_t escape = prompt_escape(text + at);
        wchar_t c = 0;
        if (escape > 0) {
            if (!marked) {
                mark = count;
                wide[count++] = 1;
            }
            for (size_t i = 0; i < escape; i++) {
                wide[count++] = (unsigned char)text[at + i];
            }
            marked = true;
            at += escape;
            continue;
        }
        size_t used = decode(text + at, len - at, &c);
        at += used > 0 ? used : len - at;
        if (used == 0 || is_control(c) || wcwidth(c) <= 0) {
            continue;
        }
        if (marked) {
            wide[count++] = 1;
            marked = false;
        }
        wide[count++] = c;
    }
    if (marked) {
        if (mark > 0 && wide[mark - 1] == ' ') {
            memmove(wide + mark - 1, wide + mark, (count - mark) * sizeof *wide);
            count--;
        }
        wide[count++] = 1;
        wide[count++] = ' ';
    }
    return wide;
}

/* 0 or -ENOMEM, then the old one stays. */
static int set_prompt(struct editor *ed, const char *text)
{
    char *prompt = strdup(text);
    wchar_t *wide = widen_prompt(text);
    if (prompt == NULL || wide == NULL) {
        free(prompt);
        free(wide);
        return -ENOMEM;
    }
    free(ed->prompt);
    free(ed->prompt_wide);
    ed->prompt = prompt;
    ed->prompt_wide = wide;
    return 0;
}

/* Plain terminals show no escape sequences. */
static void print_plain_prompt(const struct editor *ed)
{
    for (const char *at = ed->prompt; *at != '\0';) {
        size_t escape = prompt_escape(at);
        size_t len = escape > 0 ? escape : 1;
        if (escape == 0) {
            fwrite(at, 1, 1, stdout);
        }
        at += len;
    }
    fflush(stdout);
}

/* ---- showing and hiding ---- */

static void set_shown(struct editor *ed, bool shown)
{
    if (ed->shown == shown) {
        return;
    }
    ed->shown = shown;
    if (ed->suspended) {
        return; /* resume does it */
    }
    if (ed->el == NULL) {
        if (shown) {
            print_plain_prompt(ed);
        } else {
            fputs("\n", stdout);
            fflush(stdout);
        }
        return;
    }
    locale_t before = enter(ed);
    if (shown) {
        draw(ed);
    } else {
        erase(ed);
    }
    leave(before);
}

/* Moves (row, column) over one character as libedit would draw it. */
static void advance(size_t width, wchar_t c, size_t *row, size_t *column)
{
    int cells = wcwidth(c);
    if (c == '\t') {
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
static size_t cursor_row(const struct editor *ed, size_t width)
{
    size_t row = 0;
    size_t column = 0;
    bool escape = false;
    for (const wchar_t *c = ed->prompt_wide; *c != 0; c++) {
        if (*c == 1) {
            escape = !escape;
        } else if (!escape) {
            advance(width, *c, &row, &column);
        }
    }
    const LineInfoW *line = el_wline(ed->el);
    for (const wchar_t *c = line->buffer; c < line->cursor; c++) {
        advance(width, *c, &row, &column);
    }
    return row;
}

/* After a change of size. Terminals of today have already laid the text out anew, so libedit's own
 * idea of where it drew is of no use: the rows are counted at the new width, cleared (with ANSI
 * sequences, which everything that changes its size understands) and drawn again. */
static void resize(struct editor *ed)
{
    struct winsize size = {0};
    (void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    size_t width = size.ws_col > 1 ? size.ws_col : 80;
    if (!ed->silent) {
        size_t rows = cursor_row(ed, width);
        rows = size.ws_row > 0 && rows >= size.ws_row ? size.ws_row - 1U : rows;
        /* From column 1: tmux copies the screen to its history when it is cleared from 0,0. */
        fputs("\r\033[C\033[J\r\033[K", ed->out);
        while (rows-- > 0) {
            fputs("\033[A\033[K", ed->out);
        }
        fflush(ed->out);
    }
    ed->silent = true;
    el_resize(ed->el);
    el_wset(ed->el, EL_REFRESH); /* at once: its cursor may lie outside the new, smaller screen */
    draw(ed);
}

/* ---- opening and closing ---- */

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

static bool is_plain_terminal(void)
{
    const char *term = getenv("TERM");
    return term == NULL || *term == '\0' || strcmp(term, "dumb") == 0 ||
           strcmp(term, "emacs") == 0 || strcmp(term, "unknown") == 0;
}

/* Ends libedit without its tcsetattr(TCSAFLUSH), which throws away what is typed ahead. */
static void end_libedit(struct editor *ed)
{
    if (ed->el != NULL) {
        ed->silent = true;
        el_wset(ed->el, EL_EDITMODE, 0);
        el_end(ed->el);
        ed->el = NULL;
    }
    if (ed->out != NULL) {
        fclose(ed->out);
        ed->out = NULL;
    }
}

static void editor_close(struct editor *ed)
{
    if (ed->open) {
        set_shown(ed, false);
    }
    ed->open = false;
    if (ed->locale != (locale_t)0) {
        locale_t before = uselocale(ed->locale);
        end_libedit(ed);
        uselocale(before);
        freelocale(ed->locale);
        ed->locale = (locale_t)0;
        restore_modes();
        catch_fatal_signals(false);
        terminal.taken = 0;
        terminal.open = false;
    }
    history_clear(&ed->history);
    ah_buf_clear(&ed->in);
    ah_buf_clear(&ed->lines);
    free(ed->prompt);
    free(ed->prompt_wide);
    ed->prompt = NULL;
    ed->prompt_wide = NULL;
}

/* Sets libedit up; leaves ed->el NULL where the terminal cannot do what it takes. */
static int start_libedit(struct editor *ed)
{
    ed->silent = true;
    ed->out = fopencookie(ed, "w", (cookie_io_functions_t){.write = on_draw});
    if (ed->out == NULL) {
        return -ENOMEM;
    }
    ed->el = el_init_fd("agenthost", stdin, ed->out, ed->out, STDIN_FILENO, STDOUT_FILENO,
                        STDOUT_FILENO);
    if (ed->el == NULL) {
        return -ENOMEM;
    }
    char *up = NULL;
    char *clear = NULL;
    el_wget(ed->el, EL_GETTC, "up", &up);
    el_wget(ed->el, EL_GETTC, "ce", &clear);
    if (up == NULL || clear == NULL) {
        end_libedit(ed);
        restore_modes();
        return 0;
    }
    el_wset(ed->el, EL_CLIENTDATA, ed);
    el_wset(ed->el, EL_SIGNAL, 0);
    el_wset(ed->el, EL_PROMPT_ESC, on_prompt, 1);
    el_wset(ed->el, EL_EDITOR, L"emacs");
    el_wset(ed->el, EL_GETCFN, on_read);
    el_wset(ed->el, EL_ADDFN, command_names[CMD_OWN], L"a reply for libedit", on_own_command);
    for (int i = 0; i < CMD_COUNT; i++) {
        wchar_t key[] = {COMMAND_KEY(i), 0};
        el_wset(ed->el, EL_BIND, key, command_names[i], NULL);
    }
    el_wset(ed->el, EL_UNBUFFERED, 1); /* raw mode from here on */
    return 0;
}

static int editor_start(struct editor *ed, const char *prompt, const char *path, struct ah_err *err)
{
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
        return ah_err_set(err, -ENOTTY, "stdin and stdout have to be a terminal");
    }
    if (terminal.open) {
        return ah_err_set(err, -EBUSY, "a line editor is open already; there is one terminal");
    }
    if (tcgetattr(STDIN_FILENO, &terminal.modes) != 0) {
        return ah_err_sys(err, -errno, "cannot read the terminal's modes");
    }
    ed->locale = utf8_locale();
    if (ed->locale == (locale_t)0) {
        return ah_err_set(err, -ENOTSUP, "there is no UTF-8 locale, not even C.UTF-8");
    }
    terminal.open = true; /* from here on editor_close undoes it */
    terminal.pid = getpid();
    if (!terminal.at_exit) {
        terminal.at_exit = atexit(restore_modes) == 0;
    }
    locale_t before = enter(ed);
    int rc = set_prompt(ed, prompt);
    ed->history.lines = calloc(ed->history.max + 1, sizeof *ed->history.lines);
    if (path != NULL) {
        ed->history.path = strdup(path);
    }
    if (rc < 0 || ed->history.lines == NULL || (path != NULL && ed->history.path == NULL)) {
        rc = ah_err_set(err, -ENOMEM, "out of memory");
    }
    if (rc == 0 && ed->history.path != NULL) {
        rc = history_load(&ed->history, err);
    }
    if (rc == 0 && !is_plain_terminal()) {
        terminal.taken = 1;
        catch_fatal_signals(true);
        rc = start_libedit(ed);
        if (rc < 0) {
            ah_err_sys(err, rc, "cannot start libedit");
        }
    }
    leave(before);
    ed->open = rc == 0;
    return rc;
}

/* ---- Lua ---- */

static struct editor *check_editor(lua_State *L)
{
    struct editor *ed = luaL_checkudata(L, 1, TYPE);
    if (!ed->open) {
        luaL_error(L, "the line editor is closed");
    }
    return ed;
}

/* A string without NUL: libedit and the prompt cannot hold one. */
static const char *check_text(lua_State *L, int index, size_t *ret_len)
{
    luaL_checktype(L, index, LUA_TSTRING);
    const char *text = lua_tolstring(L, index, ret_len);
    luaL_argcheck(L, strlen(text) == *ret_len, index, "has a NUL byte in it");
    return text;
}

static int line_open(lua_State *L)
{
    static const char *const known[] = {"prompt", "history", "history_max", NULL};
    lua_settop(L, 1);
    ah_opt_check(L, 1, known);
    const char *prompt = ah_opt_cstring(L, 1, "prompt", "> ");
    const char *path = ah_opt_cstring(L, 1, "history", NULL);
    size_t max = (size_t)ah_opt_integer(L, 1, "history_max", 1000, 0, 100000);

    struct editor *ed = lua_newuserdatauv(L, sizeof *ed, 0);
    *ed = (struct editor){.silent = true, .history.max = max};
    luaL_setmetatable(L, TYPE);
    struct ah_err err;
    if (editor_start(ed, prompt, path, &err) < 0) {
        editor_close(ed);
        return ah_push_failure(L, &err, NULL);
    }
    return 1;
}

static int line_restore(lua_State *L)
{
    (void)L;
    restore_modes();
    return 0;
}

static int editor_fd(lua_State *L)
{
    check_editor(L);
    lua_pushinteger(L, STDIN_FILENO);
    return 1;
}

static int editor_feed(lua_State *L)
{
    struct editor *ed = check_editor(L);
    if (!ed->suspended) {
        locale_t before = enter(ed);
        ed->ended = false;
        read_input(ed);
        bool gone = ed->ended;
        if (ed->el != NULL) {
            ed->ended = false;
            take_keys(ed);
        } else {
            size_t had = ed->lines.len;
            take_plain_lines(ed);
            if (ed->lines.len > had && ed->shown && !gone) {
                print_plain_prompt(ed); /* the terminal has echoed the newline */
            }
        }
        ed->ended = ed->ended || gone;
        leave(before);
    }
    /* The lines stay in ed->lines until they are all in the table: running out of Lua memory here
     * does not lose them. */
    lua_newtable(L);
    lua_Integer count = 0;
    for (size_t at = 0; at < ed->lines.len;) {
        size_t len = strlen(ed->lines.data + at);
        lua_pushlstring(L, ed->lines.data + at, len);
        lua_rawseti(L, -2, ++count);
        at += len + 1;
    }
    ah_buf_clear(&ed->lines);
    lua_pushboolean(L, ed->ended);
    return 2;
}

static int editor_hide(lua_State *L)
{
    set_shown(check_editor(L), false);
    return 0;
}

static int editor_show(lua_State *L)
{
    set_shown(check_editor(L), true);
    return 0;
}

static int editor_print(lua_State *L)
{
    struct editor *ed = check_editor(L);
    size_t len;
    luaL_checktype(L, 2, LUA_TSTRING);
    const char *text = lua_tolstring(L, 2, &len);
    if (len == 0) {
        return 0;
    }
    bool shown = ed->shown;
    set_shown(ed, false);
    fwrite(text, 1, len, stdout);
    if (text[len - 1] != '\n') {
        fputs("\n", stdout);
    }
    fflush(stdout);
    set_shown(ed, shown);
    return 0;
}

static int editor_set_prompt(lua_State *L)
{
    struct editor *ed = check_editor(L);
    size_t len;
    const char *text = check_text(L, 2, &len);
    bool shown = ed->shown && ed->el != NULL && !ed->suspended;
    locale_t before = enter(ed);
    if (shown) {
        erase(ed);
    }
    int rc = set_prompt(ed, text);
    if (shown) {
        draw(ed);
    }
    leave(before);
    return rc < 0 ? luaL_error(L, "out of memory") : 0;
}

static int editor_text(lua_State *L)
{
    struct editor *ed = check_editor(L);
    luaL_Buffer text;
    if (ed->el == NULL) {
        lua_pushlstring(L, ah_buf_str(&ed->in), ed->in.len);
        return 1;
    }
    const LineInfoW *line = el_wline(ed->el);
    luaL_buffinit(L, &text);
    for (const wchar_t *c = line->buffer; c < line->lastchar; c++) {
        lua_pushfstring(L, "%U", (long)*c);
        luaL_addvalue(&text);
    }
    luaL_pushresult(&text);
    return 1;
}

static int editor_discard(lua_State *L)
{
    struct editor *ed = check_editor(L);
    editor_text(L); /* first: it may raise */
    ah_buf_clear(&ed->in);
    history_forget_draft(&ed->history);
    if (ed->el == NULL) {
        (void)tcflush(STDIN_FILENO, TCIFLUSH);
    } else if (ed->suspended) {
        replace_text(ed, "");
    } else {
        locale_t before = enter(ed);
        erase(ed);
        reply(ed, CC_FATAL);
        draw(ed);
        leave(before);
    }
    return 1;
}

static int editor_insert(lua_State *L)
{
    struct editor *ed = check_editor(L);
    size_t len;
    const char *text = check_text(L, 2, &len);
    if (ed->el == NULL) {
        lua_pushboolean(L, 0); /* the terminal driver holds the line */
        return 1;
    }
    locale_t before = enter(ed);
    insert(ed, text, len, false);
    if (!ed->suspended) {
        reply(ed, CC_REFRESH);
    }
    leave(before);
    lua_pushboolean(L, 1);
    return 1;
}

static int editor_add_history(lua_State *L)
{
    struct editor *ed = check_editor(L);
    size_t len;
    const char *text = check_text(L, 2, &len);
    if (!history_remember(&ed->history, text, len) || ed->history.path == NULL) {
        lua_pushboolean(L, 1);
        return 1;
    }
    int rc = history_append(&ed->history);
    if (rc < 0) {
        struct ah_err err;
        ah_err_sys(&err, rc, "cannot write the history file '%s'", ed->history.path);
        return ah_push_failure(L, &err, NULL);
    }
    lua_pushboolean(L, 1);
    return 1;
}

static int editor_resize(lua_State *L)
{
    struct editor *ed = check_editor(L);
    if (ed->el != NULL) {
        locale_t before = enter(ed);
        resize(ed);
        leave(before);
    }
    return 0;
}

static int editor_suspend(lua_State *L)
{
    struct editor *ed = check_editor(L);
    if (ed->suspended) {
        return 0;
    }
    bool shown = ed->shown;
    set_shown(ed, false);
    ed->shown = shown;
    ed->suspended = true;
    if (ed->el != NULL) {
        el_wset(ed->el, EL_PREP_TERM, 0);
        restore_modes();
    }
    return 0;
}

static int editor_resume(lua_State *L)
{
    struct editor *ed = check_editor(L);
    if (!ed->suspended) {
        return 0;
    }
    ed->suspended = false;
    bool shown = ed->shown;
    if (ed->el != NULL) {
        locale_t before = enter(ed);
        terminal.taken = 1;
        catch_fatal_signals(true);
        el_wset(ed->el, EL_PREP_TERM, 1);
        ed->silent = true;
        resize(ed); /* the size may have changed meanwhile */
        leave(before);
    } else if (shown) {
        print_plain_prompt(ed);
    }
    return 0;
}

static int editor_plain(lua_State *L)
{
    lua_pushboolean(L, check_editor(L)->el == NULL);
    return 1;
}

static int editor_gc(lua_State *L)
{
    editor_close(luaL_checkudata(L, 1, TYPE));
    return 0;
}

static const luaL_Reg editor_methods[] = {
    {"add_history", editor_add_history},
    {"close", editor_gc},
    {"discard", editor_discard},
    {"fd", editor_fd},
    {"feed", editor_feed},
    {"hide", editor_hide},
    {"insert", editor_insert},
    {"is_plain", editor_plain},
    {"print", editor_print},
    {"resize", editor_resize},
    {"resume", editor_resume},
    {"set_prompt", editor_set_prompt},
    {"show", editor_show},
    {"suspend", editor_suspend},
    {"text", editor_text},
    {NULL, NULL},
};

static const luaL_Reg editor_meta[] = {
    {"__close", editor_gc},
    {"__gc", editor_gc},
    {NULL, NULL},
};

static const luaL_Reg functions[] = {
    {"open", line_open},
    {"restore", line_restore},
    {NULL, NULL},
};

int luaopen_agenthost_line(lua_State *L)
{
    ah_handle_type(L, TYPE, editor_methods, editor_meta);
    luaL_newlib(L, functions);
    return 1;
}
