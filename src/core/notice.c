#include "notice.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct ah_notice *ah_notice_new(void)
{
    return calloc(1, sizeof(struct ah_notice));
}

void ah_notice_free(struct ah_notice *notice)
{
    if (notice == NULL) {
        return;
    }
    for (size_t i = 0; i < notice->count; i++) {
        free(notice->fields[i].name);
        if (notice->fields[i].type == AH_FIELD_TEXT) {
            free(notice->fields[i].as.text.data);
        }
    }
    free(notice->fields);
    free(notice);
}

/* A new last field with its name set; the caller fills in type and value. */
static int add_field(struct ah_notice *notice, const char *name, struct ah_field **ret_field)
{
    if (notice->count == AH_NOTICE_MAX_FIELDS) {
        return -E2BIG;
    }
    if (notice->count == notice->cap) {
        size_t cap = notice->cap == 0 ? 16 : notice->cap * 2;
        struct ah_field *fields = realloc(notice->fields, cap * sizeof *fields);
        if (fields == NULL) {
            return -ENOMEM;
        }
        notice->fields = fields;
        notice->cap = cap;
    }
    char *copy = strdup(name);
    if (copy == NULL) {
        return -ENOMEM;
    }
    *ret_field = &notice->fields[notice->count++];
    **ret_field = (struct ah_field){.name = copy, .type = AH_FIELD_FLAG};
    return 0;
}

int ah_notice_add_text(struct ah_notice *notice, const char *name, const char *data, size_t len)
{
    if (data == NULL) {
        return 0;
    }
    char *copy = malloc(len + 1);
    if (copy == NULL) {
        return -ENOMEM;
    }
    memcpy(copy, data, len);
    copy[len] = '\0';
    struct ah_field *field;
    int rc = add_field(notice, name, &field);
    if (rc < 0) {
        free(copy);
        return rc;
    }
    field->type = AH_FIELD_TEXT;
    field->as.text.data = copy;
    field->as.text.len = len;
    return 0;
}

int ah_notice_add_integer(struct ah_notice *notice, const char *name, int64_t value)
{
    struct ah_field *field;
    int rc = add_field(notice, name, &field);
    if (rc == 0) {
        field->type = AH_FIELD_INTEGER;
        field->as.integer = value;
    }
    return rc;
}

int ah_notice_add_number(struct ah_notice *notice, const char *name, double value)
{
    struct ah_field *field;
    int rc = add_field(notice, name, &field);
    if (rc == 0) {
        field->type = AH_FIELD_NUMBER;
        field->as.number = value;
    }
    return rc;
}

int ah_notice_add_flag(struct ah_notice *notice, const char *name, bool value)
{
    struct ah_field *field;
    int rc = add_field(notice, name, &field);
    if (rc == 0) {
        field->as.flag = value;
    }
    return rc;
}
