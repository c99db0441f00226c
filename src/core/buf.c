#include "buf.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void ah_buf_init(struct ah_buf *buf, size_t max)
{
    *buf = (struct ah_buf){.max = max};
}

void ah_buf_clear(struct ah_buf *buf)
{
    free(buf->data);
    ah_buf_init(buf, buf->max);
}

int ah_buf_reserve(struct ah_buf *buf, size_t more)
{
    if (more > SIZE_MAX / 2 - buf->len) {
        return -ENOMEM;
    }
    size_t need = buf->len + more;
    if (buf->max != 0 && need > buf->max) {
        return -EMSGSIZE;
    }
    if (buf->data != NULL && need <= buf->cap) {
        return 0;
    }
    size_t cap = buf->cap < 64 ? 64 : buf->cap;
    while (cap < need) {
        cap *= 2;
    }
    char *data = realloc(buf->data, cap + 1);
    if (data == NULL) {
        return -ENOMEM;
    }
    buf->data = data;
    buf->cap = cap;
    buf->data[buf->len] = '\0';
    return 0;
}

int ah_buf_add(struct ah_buf *buf, const void *data, size_t len)
{
    /* Mostly there is room, and small pieces are added by the million. */
    if (buf->data == NULL || len > buf->cap - buf->len || buf->max != 0) {
        int rc = ah_buf_reserve(buf, len);
        if (rc < 0) {
            return rc;
        }
    }
    if (len > 0) {
        memcpy(buf->data + buf->len, data, len);
    }
    buf->len += len;
    buf->data[buf->len] = '\0';
    return 0;
}

int ah_buf_add_str(struct ah_buf *buf, const char *text)
{
    return ah_buf_add(buf, text, strlen(text));
}

int ah_buf_addf(struct ah_buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len < 0) {
        return -EINVAL;
    }
    int rc = ah_buf_reserve(buf, (size_t)len);
    if (rc < 0) {
        return rc;
    }
    va_start(args, format);
    vsnprintf(buf->data + buf->len, (size_t)len + 1, format, args);
    va_end(args);
    buf->len += (size_t)len;
    return 0;
}

void ah_buf_consume(struct ah_buf *buf, size_t count)
{
    if (count >= buf->len) {
        buf->len = 0;
    } else {
        memmove(buf->data, buf->data + count, buf->len - count);
        buf->len -= count;
    }
    if (buf->data != NULL) {
        buf->data[buf->len] = '\0';
    }
}

const char *ah_buf_str(const struct ah_buf *buf)
{
    return buf->data != NULL ? buf->data : "";
}
