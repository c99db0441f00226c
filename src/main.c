#include "host.h"

#include <locale.h>

int main(int argc, char **argv)
{
    /* Characters only: a decimal comma would change how Lua reads and prints numbers. */
    setlocale(LC_CTYPE, "");
    return ah_host_run(argc, argv);
}
