/*
 * Parsers that are Lua, in a state as the host makes it: --target=NAME runs
 * tests/fuzz/lua/NAME.lua, which returns a function of the bytes. It raises for whatever breaks a
 * promise.
 *
 * What libFuzzer cannot see in Lua code it is told: a hook counts each step from one line to the
 * next in counters that libFuzzer takes for its own, apart for each number of instructions that the
 * first of the lines took, so that the branches of an `and` differ. The same hook bounds the cost
 * of an input in instructions, which are the same everywhere. It is the one hook of the state: the
 * guard of plugin code (src/lua/guard.c) leaves a hook alone that is not its own.
 *
 * With --growth the input is `prefix unit suffix`, of about the same length each, and the unit is
 * repeated: it may not cost much more than the length it makes.
 */
#include "vm.h"

#include <lauxlib.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define COUNTERS 65536 /* a power of two */
#define LEVELS 16      /* numbers of instructions that are told apart */

/* An input may cost so many instructions, and so many more for each of its bytes. Targets may allow
 * more, see tests/fuzz/README.md. */
#define COST_BASE 400000
#define COST_BYTE 3000

#define GROWTH_SHORT ((size_t)4096)
#define GROWTH_LONG ((size_t)16384)
#define GROWTH_MOST 8                            /* times as much; linear is 4 */
#define GROWTH_TIME (INT64_C(150) * 1000 * 1000) /* what takes less is not looked at */
#define GROWTH_COST INT64_C(6000000)             /* likewise */

__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t counters[COUNTERS];

static struct {
    lua_State *L;
    const char *target;
    bool growth;
    lua_Integer base, byte; /* of the target's bound */

    /* of the input that runs */
    int64_t instructions, most;
    const char *source; /* of the line that runs */
    uint32_t place;
    unsigned in_line; /* instructions */
} fuzz;

/* ---- the hook ---- */

static uint32_t hash_text(const char *text)
{
    uint32_t hash = 2166136261u;
    for (; *text != '\0'; text++) {
        hash = (hash ^ (uint8_t)*text) * 16777619u;
    }
    return hash;
}

static uint32_t mix(uint32_t hash)
{
    hash = (hash ^ (hash >> 16)) * 0x85ebca6bu;
    hash = (hash ^ (hash >> 13)) * 0xc2b2ae35u;
    return hash ^ (hash >> 16);
}

/* The message and where the Lua code is, then the end, which libFuzzer takes down. */
static void give_up(lua_State *L, const char *message)
{
    luaL_traceback(L, L, message, 0);
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    abort();
}

static void on_line(lua_State *L, lua_Debug *ar)
{
    static const char *last_source;
    static uint32_t last_hash;
    lua_getinfo(L, "S", ar);
    if (ar->source != last_source) { /* a function's text stays where it is while the state lives */
        last_source = ar->source;
        last_hash = hash_text(ar->source);
    }
    uint32_t place = mix(last_hash + (uint32_t)ar->currentline);
    unsigned level = fuzz.in_line < LEVELS ? fuzz.in_line : LEVELS;
    uint8_t *counter = &counters[mix(fuzz.place * 31 + place + level) & (COUNTERS - 1)];
    *counter += *counter < UINT8_MAX;
    fuzz.place = place;
    fuzz.in_line = 0;
}

static void on_step(lua_State *L, lua_Debug *ar)
{
    if (ar->event == LUA_HOOKLINE) {
        on_line(L, ar);
        return;
    }
    fuzz.in_line++;
    if (++fuzz.instructions > fuzz.most) {
        give_up(L, "it takes more instructions than an input of this length may (COST_BYTE)");
    }
}

/* ---- the state ---- */

static int handle(lua_State *L)
{
    luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
    return 1;
}

/* Stack afterwards: the target's function. */
static void load_target(lua_State *L)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/tests/fuzz/lua/%s.lua", AH_SOURCE_DIR, fuzz.target);
    lua_settop(L, 0);
    if (luaL_loadfilex(L, path, "t") != LUA_OK || lua_pcall(L, 0, 2, 0) != LUA_OK) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        exit(1);
    }
    fuzz.base = COST_BASE;
    fuzz.byte = COST_BYTE;
    if (lua_istable(L, 2)) {
        lua_getfield(L, 2, "base");
        lua_getfield(L, 2, "byte");
        fuzz.base = luaL_optinteger(L, 3, fuzz.base);
        fuzz.byte = luaL_optinteger(L, 4, fuzz.byte);
    }
    lua_settop(L, 1);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static struct ah_services services;
    /* Where a user's own modules would be are those of the tests. */
    static struct ah_places places = {.share = (char *)AH_SOURCE_DIR,
                                      .config = (char *)AH_SOURCE_DIR "/tests/fuzz"};
    for (int i = 1; i < *argc; i++) {
        const char *word = (*argv)[i];
        fuzz.growth = fuzz.growth || strcmp(word, "--growth") == 0;
        if (strncmp(word, "--target=", 9) == 0) {
            fuzz.target = word + 9;
        }
    }
    if (fuzz.target == NULL) {
        fprintf(stderr, "usage: fuzz_lua --target=NAME [--growth] [libFuzzer's own]\n");
        exit(2);
    }
    fuzz.L = ah_vm_new(&services, &places);
    if (fuzz.L == NULL) {
        exit(1);
    }
    load_target(fuzz.L);
    return 0;
}

/* ---- one input ---- */

/* Runs it under the hook, or (for a look at the clock) without. */
static void run(const char *bytes, size_t size, int64_t most, bool hooked)
{
    lua_State *L = fuzz.L;
    lua_settop(L, 1);
    lua_pushcfunction(L, handle);
    lua_pushvalue(L, 1);
    lua_pushlstring(L, bytes, size);
    fuzz.instructions = 0;
    fuzz.most = most;
    fuzz.place = fuzz.in_line = 0;
    lua_sethook(L, on_step, hooked ? LUA_MASKLINE | LUA_MASKCOUNT : 0, 1);
    int status = lua_pcall(L, 1, 0, 2);
    lua_sethook(L, NULL, 0, 0);
    if (status != LUA_OK) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        abort();
    }
}

struct text {
    char *bytes;
    size_t len;
};

/* The prefix, the unit as often as it fits into `len` bytes, the suffix. The caller frees the
 * bytes. */
static struct text repeat(const uint8_t *data, size_t size, size_t len)
{
    size_t unit = size / 3;
    size_t rest = size - 2 * unit;
    size_t times = (len - unit - rest) / unit;
    struct text text = {.len = unit + times * unit + rest};
    text.bytes = malloc(text.len);
    if (text.bytes == NULL) {
        abort();
    }
    memcpy(text.bytes, data, unit);
    for (size_t i = 1; i <= times; i++) {
        memcpy(text.bytes + i * unit, data + unit, unit);
    }
    memcpy(text.bytes + text.len - rest, data + 2 * unit, rest);
    return text;
}

static int64_t count(const struct text *text)
{
    run(text->bytes, text->len, INT64_MAX, true);
    return fuzz.instructions;
}

/* Nanoseconds of this thread, the least of some tries. */
static int64_t measure(const struct text *text, int tries)
{
    int64_t least = INT64_MAX;
    for (int i = 0; i < tries; i++) {
        struct timespec from;
        struct timespec to;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
        run(text->bytes, text->len, INT64_MAX, false);
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
        int64_t time = (to.tv_sec - from.tv_sec) * INT64_C(1000000000) + to.tv_nsec - from.tv_nsec;
        least = time < least ? time : least;
    }
    return least;
}

static void compare(const char *what, int64_t less, int64_t more)
{
    if (more > GROWTH_MOST * less) {
        fprintf(stderr, "four times the length costs %.1f times the %s: %lld\n",
                (double)more / (double)less, what, (long long)more);
        abort();
    }
}

static void check_growth(const uint8_t *data, size_t size)
{
    if (size < 3 || size > GROWTH_SHORT / 2) {
        return;
    }
    struct text less = repeat(data, size, GROWTH_SHORT);
    struct text more = repeat(data, size, GROWTH_LONG);
    int64_t instructions = count(&more);
    if (instructions > GROWTH_COST) {
        compare("instructions", count(&less), instructions);
    }
    /* What a C function does for one instruction only the clock tells. */
    if (measure(&more, 1) > GROWTH_TIME) {
        compare("nanoseconds", measure(&less, 5), measure(&more, 3));
    }
    free(less.bytes);
    free(more.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (fuzz.growth) {
        check_growth(data, size);
    } else {
        run((const char *)data, size, fuzz.base + fuzz.byte * (int64_t)size, true);
    }
    return 0;
}
