#include "http_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int add_text(struct ah_buf *answer, const char *text, size_t len)
{
    if (memchr(text, '\0', len) != NULL) {
        return -EINVAL;
    }
    int rc = ah_buf_add(answer, text, len);
    return rc < 0 ? rc : ah_buf_add(answer, "", 1);
}

static int add_header(struct ah_buf *answer, const struct ah_http_header *header)
{
    size_t start = answer->len;
    int rc = add_text(answer, header->name, header->name_len);
    if (rc < 0) {
        return rc;
    }
    for (char *c = answer->data + start; *c != '\0'; c++) {
        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c + ('a' - 'A') : *c);
    }
    return add_text(answer, header->value, header->value_len);
}

static int fill(struct ah_http_request *request, const struct ah_http_replay *replay)
{
    int rc = 0;
    for (size_t i = 0; i < replay->header_count && rc == 0; i++) {
        rc = add_header(&request->answer, &replay->headers[i]);
    }
    if (rc == 0) {
        rc = ah_buf_add(&request->unread, replay->body, replay->body_len);
    }
    if (rc == 0 && replay->keep) {
        rc = ah_buf_add(&request->kept, replay->body, replay->body_len);
    }
    request->effective_url = strdup(replay->url);
    return rc == 0 && request->effective_url == NULL ? -ENOMEM : rc;
}

int ah_http_replay(const struct ah_http_replay *replay, struct ah_http_request **ret_request,
                   struct ah_err *err)
{
    struct ah_http_request *request = calloc(1, sizeof *request);
    if (request == NULL) {
        return ah_err_set(err, -ENOMEM, "out of memory for a recorded answer");
    }
    request->want = 1;
    request->status = replay->status;
    request->version = 11;
    request->total = replay->body_len;
    request->state = AH_HTTP_DONE;

    int rc = fill(request, replay);
    if (rc == 0 && replay->code != NULL) {
        size_t len = strlen(replay->code);
        if (len < sizeof request->replayed_code) {
            memcpy(request->replayed_code, replay->code, len + 1);
            ah_http_request_refuse(request, request->replayed_code, "%s", replay->message);
            request->state = AH_HTTP_FAILED;
        } else {
            rc = -EINVAL;
        }
    }
    if (rc < 0) {
        ah_http_request_free(request);
        return ah_err_set(err, rc,
                          rc == -ENOMEM ? "out of memory for a recorded answer"
                                        : "not a recorded answer: a header has a NUL in it, or the "
                                          "code of the error is too long");
    }
    *ret_request = request;
    return 0;
}
