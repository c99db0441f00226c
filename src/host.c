#include "host.h"

#include "core/path.h"
#include "core/reactor.h"
#include "core/task.h"
#include "vm.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void ignore_signal(int signal)
{
    (void)signal;
}

/* A write to a closed pipe, or beyond the size that `ulimit -f` allows a file, is an error of that
 * write. An empty handler rather than SIG_IGN, because children of io.popen would inherit that. */
static void survive_failed_writes(void)
{
    struct sigaction action = {.sa_handler = ignore_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGPIPE, &action, NULL);
    sigaction(SIGXFSZ, &action, NULL);
}

/* What is opened later must not get the number of a standard descriptor that was closed: an answer
 * would be written into it. */
static void fill_standard_descriptors(void)
{
    int fd;
    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= 2);
    if (fd > 2) {
        close(fd);
    }
}

static int start(struct ah_services *services, const struct ah_places *places, struct ah_err *err)
{
    char run[AH_PATH_HEX_SIZE(8)];
    int rc = ah_path_random_hex(8, run);
    if (rc < 0) {
        return ah_err_sys(err, rc, "no random numbers");
    }
    rc = ah_reactor_new(&services->reactor, err);
    if (rc < 0) {
        return rc;
    }
    struct ah_runner_options options = {
        .wake = ah_reactor_wake(services->reactor),
        .supervisor_path = places->supervisor,
        .run = run,
    };
    return ah_runner_new(&options, &services->runner, err);
}

int ah_host_run(int argc, char **argv)
{
    fill_standard_descriptors();
    survive_failed_writes();
    struct ah_services services = {0};
    struct ah_places places;
    struct ah_err err;
    int code = 1;
    int rc = ah_places_find(&places, &err);
    if (rc == 0) {
        rc = start(&services, &places, &err);
    }
    if (rc == 0) {
        lua_State *L = ah_vm_new(&services, &places);
        if (L != NULL) {
            code = ah_vm_run(L, argc, argv);
            ah_vm_free(L);
        }
    } else {
        fprintf(stderr, "agenthost: %s\n", err.msg);
    }
    ah_runner_free(services.runner); /* ends the tasks */
    ah_reactor_free(services.reactor);
    ah_places_clear(&places);
    return code;
}
