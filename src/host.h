/*
 * The host: makes what the Lua state stands on, runs it, and takes it down in the right order.
 */
#pragma once

/* Runs the program with the words of its command line; returns its exit code. */
int ah_host_run(int argc, char **argv);
