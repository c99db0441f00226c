#include "err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 3, 0))) static void set_message(struct ah_err *err, int code,
                                                              const char *format, va_list args)
{
    err->code = code;
    vsnprintf(err->msg, sizeof err->msg, format, args);
    for (char *c = err->msg; *c != '\0'; c++) {
        if (*c == '\n' || *c == '\r') {
            *c = ' ';
        }
    }
}

int ah_err_set(struct ah_err *err, int code, const char *format, ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, format);
        set_message(err, code, format, args);
        va_end(args);
    }
    return code;
}

int ah_err_sys(struct ah_err *err, int code, const char *format, ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, format);
        set_message(err, code, format, args);
        va_end(args);
        size_t used = strlen(err->msg);
        char text[96];

        snprintf(text, sizeof text, "%s", strerror(-code));
        snprintf(err->msg + used, sizeof err->msg - used, ": %s", text);
    }
    return code;
}
