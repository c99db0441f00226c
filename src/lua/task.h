/*
 * What the two files of the task binding share: task_run.c reads the options of task.run, task.c is
 * everything else.
 */
#pragma once

#include <lua.h>

struct ah_task;

#define AH_TASK_TYPE "agenthost.task"

struct ah_task_handle {
    struct ah_task *task;
};

/* Pushes an empty handle; the caller fills it in. */
struct ah_task_handle *ah_task_push_handle(lua_State *L);

/* A string without NUL bytes at `index`; raises "<what>: expected a string, got ...". Borrowed. */
const char *ah_task_check_text(lua_State *L, int index, const char *what);

/* A number of require("agenthost.defaults").task. */
double ah_task_default(lua_State *L, const char *name);

/* task.run */
int ah_lua_task_run(lua_State *L);
