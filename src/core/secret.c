#include "secret.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct secret {
    char *name;
    char *value;
    size_t value_len;
};

struct ah_secret_store {
    struct secret *secrets;
    size_t count;
    size_t cap;
};

struct ah_secret_store *ah_secret_new(void)
{
    return calloc(1, sizeof(struct ah_secret_store));
}

static void wipe(char *text)
{
    if (text != NULL) {
        explicit_bzero(text, strlen(text));
    }
}

static void clear_from(struct ah_secret_store *store, size_t first)
{
    for (size_t i = first; i < store->count; i++) {
        wipe(store->secrets[i].value);
        free(store->secrets[i].value);
        free(store->secrets[i].name);
    }
    store->count = first;
}

void ah_secret_free(struct ah_secret_store *store)
{
    if (store != NULL) {
        clear_from(store, 0);
        free(store->secrets);
        free(store);
    }
}

static int add(struct ah_secret_store *store, const char *name, size_t name_len, const char *value)
{
    if (store->count == store->cap) {
        size_t cap = store->cap > 0 ? 2 * store->cap : 8;
        struct secret *secrets = realloc(store->secrets, cap * sizeof *secrets);
        if (secrets == NULL) {
            return -ENOMEM;
        }
        store->secrets = secrets;
        store->cap = cap;
    }
    struct secret *secret = &store->secrets[store->count];
    *secret = (struct secret){
        .name = strndup(name, name_len),
        .value = strdup(value),
        .value_len = strlen(value),
    };
    if (secret->name == NULL || secret->value == NULL) {
        wipe(secret->value);
        free(secret->name);
        free(secret->value);
        return -ENOMEM;
    }
    store->count++;
    return 0;
}

/* 1: matches, 0: not, -ENOMEM. */
static int matches(const char *entry, const char *pattern)
{
    const char *equals = strchr(entry, '=');
    if (equals == NULL) {
        return 0;
    }
    char *name = strndup(entry, (size_t)(equals - entry));
    if (name == NULL) {
        return -ENOMEM;
    }
    int rc = fnmatch(pattern, name, 0) == 0;
    free(name);
    return rc;
}

/* Takes the entries out of environ that `hidden` has, and overwrites them. By hand: unsetenv finds
 * entries by their names, so it would have to come first, and then their memory is lost. */
static void remove_entries(char *const *hidden, size_t count)
{
    char **kept = environ;
    for (char **entry = environ; *entry != NULL; entry++) {
        bool is_hidden = false;
        for (size_t i = 0; i < count; i++) {
            is_hidden = is_hidden || hidden[i] == *entry;
        }
        if (is_hidden) {
            wipe(*entry);
        } else {
            *kept++ = *entry;
        }
    }
    *kept = NULL;
}

/* The first value of a name counts, as for getenv. */
static void merge_new(struct ah_secret_store *store, size_t first)
{
    size_t kept = first;
    for (size_t i = first; i < store->count; i++) {
        struct secret *added = &store->secrets[i];
        struct secret *same = NULL;
        bool repeated = false;
        for (size_t j = 0; j < kept && same == NULL; j++) {
            if (strcmp(store->secrets[j].name, added->name) == 0) {
                same = &store->secrets[j];
                repeated = j >= first;
            }
        }
        if (same == NULL) {
            struct secret moved = *added;
            store->secrets[kept++] = moved;
            continue;
        }
        if (!repeated) {
            char *value = same->value;
            same->value = added->value;
            same->value_len = added->value_len;
            added->value = value;
        }
        wipe(added->value);
        free(added->value);
        free(added->name);
    }
    store->count = kept;
}

int ah_secret_hide(struct ah_secret_store *store, const char *pattern)
{
    size_t first = store->count;
    size_t entries = 0;
    size_t count = 0;
    int rc = 0;
    while (environ != NULL && environ[entries] != NULL) {
        entries++;
    }
    char **hidden = calloc(entries + 1, sizeof *hidden);
    if (hidden == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < entries; i++) {
        rc = matches(environ[i], pattern);
        if (rc > 0) {
            const char *equals = strchr(environ[i], '=');
            rc = add(store, environ[i], (size_t)(equals - environ[i]), equals + 1);
            hidden[count++] = environ[i];
        }
        if (rc < 0) {
            clear_from(store, first);
            goto out;
        }
    }
    if (count > 0) {
        remove_entries(hidden, count);
        merge_new(store, first);
    }
    rc = (int)count;
out:
    free(hidden);
    return rc;
}

const char *ah_secret_get(const struct ah_secret_store *store, const char *name)
{
    for (size_t i = 0; i < store->count; i++) {
        if (strcmp(store->secrets[i].name, name) == 0) {
            return store->secrets[i].value;
        }
    }
    return NULL;
}

/* The longest value that the text starts with, or NULL. */
static const struct secret *longest_at(const struct ah_secret_store *store, const char *text,
                                       size_t len)
{
    const struct secret *best = NULL;
    for (size_t i = 0; i < store->count; i++) {
        const struct secret *secret = &store->secrets[i];
        if (secret->value_len >= AH_SECRET_REDACT_MIN && secret->value_len <= len &&
            (best == NULL || secret->value_len > best->value_len) &&
            memcmp(text, secret->value, secret->value_len) == 0) {
            best = secret;
        }
    }
    return best;
}

int ah_secret_redact(const struct ah_secret_store *store, const char *text, size_t len,
                     struct ah_buf *out)
{
    bool starts[256] = {false};
    for (size_t i = 0; i < store->count; i++) {
        if (store->secrets[i].value_len >= AH_SECRET_REDACT_MIN) {
            starts[(unsigned char)store->secrets[i].value[0]] = true;
        }
    }
    size_t before = out->len;
    size_t done = 0;
    int rc = 0;
    for (size_t at = 0; at < len && rc == 0;) {
        const struct secret *secret =
            starts[(unsigned char)text[at]] ? longest_at(store, text + at, len - at) : NULL;
        if (secret == NULL) {
            at++;
            continue;
        }
        rc = ah_buf_add(out, text + done, at - done);
        if (rc == 0) {
            rc = ah_buf_addf(out, "<%s>", secret->name);
        }
        at += secret->value_len;
        done = at;
    }
    if (rc == 0) {
        rc = ah_buf_add(out, text + done, len - done);
    }
    if (rc < 0 && out->data != NULL) {
        out->len = before;
        out->data[before] = '\0';
    }
    return rc;
}
