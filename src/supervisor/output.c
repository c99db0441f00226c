#include "output.h"

#include "core/io.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TAIL_MAX (64 * 1024)

uint64_t output_size(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

void output_trim(const char *path, uint64_t max)
{
    uint64_t size = output_size(path);
    if (size <= max) {
        return;
    }
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    size_t tail = max / 4 < TAIL_MAX ? (size_t)(max / 4) : TAIL_MAX;
    char *text = malloc(tail + 1);
    if (fd >= 0 && text != NULL) {
        ssize_t got = pread(fd, text, tail, (off_t)(size - tail));
        uint64_t head = max - tail;
        char line[OUTPUT_SLACK];
        int len =
            snprintf(line, sizeof line,
                     "\n[... %" PRIu64 " bytes left out: output limit of %" PRIu64 " bytes ...]\n",
                     size - head - (uint64_t)(got > 0 ? got : 0), max);
        if (ftruncate(fd, (off_t)head) == 0 && lseek(fd, 0, SEEK_END) >= 0) {
            (void)ah_io_write_all(fd, line, (size_t)len);
            if (got > 0) {
                (void)ah_io_write_all(fd, text, (size_t)got);
            }
        }
    }
    free(text);
    ah_io_close(&fd);
}
