/* agenthost.sys, the part for files and directories. */
#include "sys.h"

#include "binding.h"
#include "box.h"

#include "core/file.h"
#include "core/io.h"
#include "core/path.h"
#include "core/root.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define ROOT "agenthost.sys.Root"
#define APPENDER "agenthost.sys.Appender"
#define LIST "agenthost.sys.list"

#define READ_MAX_DEFAULT (16 * 1024 * 1024)
#define LIST_MAX_DEFAULT 10000

static int push_result(lua_State *L, int rc, const struct ah_err *err)
{
    if (rc < 0) {
        return ah_push_failure(L, err, NULL);
    }
    lua_pushboolean(L, 1);
    return 1;
}

static int push_errno(lua_State *L, const char *what, const char *path)
{
    struct ah_err err;
    ah_err_sys(&err, -errno, "%s '%s'", what, path);
    return ah_push_failure(L, &err, NULL);
}

static size_t opt_max(lua_State *L, int arg, lua_Integer def)
{
    lua_Integer max = luaL_optinteger(L, arg, def);
    luaL_argcheck(L, max >= 0, arg, "expected a number >= 0");
    return (size_t)max;
}

static int push_stat(lua_State *L, const struct stat *st)
{
    lua_createtable(L, 0, 5);
    lua_pushstring(L, ah_file_type(st->st_mode));
    lua_setfield(L, -2, "type");
    lua_pushinteger(L, (lua_Integer)st->st_size);
    lua_setfield(L, -2, "size");
    lua_pushnumber(L, (double)st->st_mtim.tv_sec + (double)st->st_mtim.tv_nsec / 1e9);
    lua_setfield(L, -2, "mtime");
    lua_pushinteger(L, st->st_mode & 07777);
    lua_setfield(L, -2, "mode");
    lua_pushinteger(L, (lua_Integer)st->st_ino);
    lua_setfield(L, -2, "inode");
    return 1;
}

/* ---- lists of entries: in a box while they become a table ---- */

static int list_gc(lua_State *L)
{
    ah_file_list_clear(lua_touserdata(L, 1));
    return 0;
}

static struct ah_file_list *new_list(lua_State *L)
{
    struct ah_file_list *list = lua_newuserdatauv(L, sizeof *list, 0);
    *list = (struct ah_file_list){0};
    luaL_setmetatable(L, LIST);
    return list;
}

static int push_list(lua_State *L, struct ah_file_list *list)
{
    lua_createtable(L, list->count < INT_MAX ? (int)list->count : 0, 0);
    for (size_t i = 0; i < list->count; i++) {
        lua_createtable(L, 0, 2); /* entries entry */
        lua_pushstring(L, list->entries[i].name);
        lua_setfield(L, -2, "name");
        lua_pushstring(L, list->entries[i].type);
        lua_setfield(L, -2, "type");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_pushboolean(L, list->more);
    ah_file_list_clear(list);
    return 2;
}

/* ---- roots ---- */

static struct ah_root *check_root(lua_State *L)
{
    struct ah_root **root = luaL_checkudata(L, 1, ROOT);
    if (*root == NULL) {
        luaL_error(L, "this root is closed");
    }
    return *root;
}

static int sys_root(lua_State *L)
{
    const char *path = ah_sys_check_path(L, 1);
    struct ah_err err;
    struct ah_root **root = lua_newuserdatauv(L, sizeof *root, 0);
    *root = NULL;
    luaL_setmetatable(L, ROOT);
    return ah_root_open(path, root, &err) < 0 ? ah_push_failure(L, &err, NULL) : 1;
}

static int root_path(lua_State *L)
{
    lua_pushstring(L, ah_root_path(check_root(L)));
    return 1;
}

static int root_read(lua_State *L)
{
    const struct ah_root *root = check_root(L);
    const char *path = ah_sys_check_path(L, 2);
    size_t max = opt_max(L, 3, READ_MAX_DEFAULT);
    struct ah_err err;
    uint64_t size;
    struct ah_buf *out = ah_box_new(L);
    if (ah_root_read(root, path, max, out, &size, &err) < 0) {
        return ah_push_failure(L, &err, NULL);
    }
    ah_box_push(L, out);
    lua_pushinteger(L, (lua_Integer)size);
    return 2;
}

static int root_write(lua_State *L)
{
    size_t len;
    const struct ah_root *root = check_root(L);
    const char *path = ah_sys_check_path(L, 2);
    const char *text = ah_sys_check_text(L, 3, &len);
    struct ah_err err;
    return push_result(L, ah_root_write(root, path, text, len, &err), &err);
}

static int root_list(lua_State *L)
{
    const struct ah_root *root = check_root(L);
    const char *path = lua_isnoneornil(L, 2) ? "." : ah_sys_check_path(L, 2);
    size_t max = opt_max(L, 3, LIST_MAX_DEFAULT);
    struct ah_err err;
    struct ah_file_list *list = new_list(L);
    if (ah_root_list(root, path, max, list, &err) < 0) {
        return ah_push_failure(L, &err, NULL);
    }
    return push_list(L, list);
}

static int root_stat(lua_State *L)
{
    const struct ah_root *root = check_root(L);
    const char *path = ah_sys_check_path(L, 2);
    struct ah_err err;
    struct stat st;
    if (ah_root_stat(root, path, &st, &err) < 0) {
        return ah_push_failure(L, &err, NULL);
    }
    return push_stat(L, &st);
}

static int root_close(lua_State *L)
{
    struct ah_root **root = luaL_checkudata(L, 1, ROOT);
    ah_root_free(*root);
    *root = NULL;
    return 0;
}

/* ---- append-only files ---- */

static int *check_appender(lua_State *L)
{
    int *fd = luaL_checkudata(L, 1, APPENDER);
    if (*fd < 0) {
        luaL_error(L, "this file is closed");
    }
    return fd;
}

static int sys_append(lua_State *L)
{
    const char *path = ah_sys_check_path(L, 1);
    struct ah_err err;
    int *fd = lua_newuserdatauv(L, sizeof *fd, 0);
    *fd = -1;
    luaL_setmetatable(L, APPENDER);
    return ah_file_open_append(path, fd, &err) < 0 ? ah_push_failure(L, &err, NULL) : 1;
}

/* One write call, so that records of several processes do not mix and a crash tears at most the
 * last one. */
static int appender_write(lua_State *L)
{
    int *fd = check_appender(L);
    size_t len;
    const char *text = ah_sys_check_text(L, 2, &len);
    struct ah_err err;
    ssize_t n;
    do {
        n = write(*fd, text, len);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        ah_err_sys(&err, -errno, "cannot append");
        return ah_push_failure(L, &err, NULL);
    }
    if ((size_t)n < len) {
        ah_err_set(&err, -EIO, "only %zd of %zu bytes were appended", n, len);
        ah_push_failure(L, &err, "SHORT");
        lua_pushinteger(L, n);
        return 4;
    }
    lua_pushboolean(L, 1);
    return 1;
}

static int appender_sync(lua_State *L)
{
    int *fd = check_appender(L);
    struct ah_err err;
    int rc = fdatasync(*fd) < 0 ? ah_err_sys(&err, -errno, "cannot sync") : 0;
    return push_result(L, rc, &err);
}

/* The lock belongs to the open file: the kernel takes it back when the last process that has it
 * open ends, however that is. */
static int appender_lock(lua_State *L)
{
    int *fd = check_appender(L);
    struct ah_err err;
    int rc;
    do {
        rc = flock(*fd, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
    } while (rc == -EINTR);
    if (rc == -EWOULDBLOCK) {
        ah_err_set(&err, rc, "another process has locked it");
        return ah_push_failure(L, &err, "LOCKED");
    } else if (rc < 0) {
        ah_err_sys(&err, rc, "cannot lock");
    }
    return push_result(L, rc, &err);
}

static int appender_close(lua_State *L)
{
    ah_io_close(luaL_checkudata(L, 1, APPENDER));
    return 0;
}

/* ---- unconfined, for the host's own files ---- */

static int sys_read_file(lua_State *L)
{
    const char *path = ah_sys_check_path(L, 1);
    size_t max = opt_max(L, 2, READ_MAX_DEFAULT);
    struct ah_err err;
    uint64_t size;
    struct ah_buf *out = ah_box_new(L);
    if (ah_file_read(path, max, out, &size, &err) < 0) {
        return ah_push_failure(L, &err, NULL);
    }
    ah_box_push(L, out);
    lua_pushinteger(L, (lua_Integer)size);
    return 2;
}

static int sys_write_file(lua_State *L)
{
    size_t len;
    const char *path = ah_sys_check_path(L, 1);
    const char *text = ah_sys_check_text(L, 2, &len);
    lua_Integer mode = luaL_optinteger(L, 3, -1);
    luaL_argcheck(L, mode >= -1 && mode <= 0777, 3, "expected permission bits, 0 to 0x1ff");
    struct ah_err err;
    return push_result(L, ah_file_write(path, text, len, (int)mode, &err), &err);
}

static int sys_list(lua_State *L)
{
    const char *path = ah_sys_check_path(L, 1);
    size_t max = opt_max(L, 2, LIST_MAX_DEFAULT);
    struct ah_err err;
    struct ah_file_list *list = new_list(L);
    if (ah_file_list(path, max, list, &err) < 0) {
        return ah_push_failure(L, &err, NULL);
    }
    return push_list(L, list);
}

static int sys_stat(lua_State *L)
{
    const char *path = ah_sys_check_path(L, 1);
    struct ah_err err;
    struct stat st;
    if (ah_file_stat(path, &st, &err) < 0) {
        return ah_push_failure(L, &err, NULL);
    }
    return push_stat(L, &st);
}

static int sys_mkdir_private(lua_State *L)
{
    const char *path = ah_sys_check_path(L, 1);
    struct ah_err err;
    return push_result(L, ah_path_mkdir_private(path, &err), &err);
}

static int sys_realpath(lua_State *L)
{
    char real[PATH_MAX];
    const char *path = ah_sys_check_path(L, 1);
    if (realpath(path, real) == NULL) {
        return push_errno(L, "cannot find", path);
    }
    lua_pushstring(L, real);
    return 1;
}

static int sys_cwd(lua_State *L)
{
    char path[PATH_MAX];
    if (getcwd(path, sizeof path) == NULL) {
        return push_errno(L, "cannot find", "the current directory");
    }
    lua_pushstring(L, path);
    return 1;
}

static int sys_chdir(lua_State *L)
{
    const char *path = ah_sys_check_path(L, 1);
    if (chdir(path) < 0) {
        return push_errno(L, "cannot change to", path);
    }
    lua_pushboolean(L, 1);
    return 1;
}

void ah_sys_add_files(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"append", sys_append},
        {"chdir", sys_chdir},
        {"cwd", sys_cwd},
        {"list", sys_list},
        {"mkdir_private", sys_mkdir_private},
        {"read_file", sys_read_file},
        {"realpath", sys_realpath},
        {"root", sys_root},
        {"stat", sys_stat},
        {"write_file", sys_write_file},
        {NULL, NULL},
    };
    static const luaL_Reg root_methods[] = {
        {"close", root_close}, {"list", root_list},   {"path", root_path}, {"read", root_read},
        {"stat", root_stat},   {"write", root_write}, {NULL, NULL},
    };
    static const luaL_Reg root_meta[] = {
        {"__gc", root_close},
        {"__close", root_close},
        {NULL, NULL},
    };
    static const luaL_Reg appender_methods[] = {
        {"close", appender_close},
        {"lock", appender_lock},
        {"sync", appender_sync},
        {"write", appender_write},
        {NULL, NULL},
    };
    static const luaL_Reg appender_meta[] = {
        {"__gc", appender_close},
        {"__close", appender_close},
        {NULL, NULL},
    };
    static const luaL_Reg list_meta[] = {{"__gc", list_gc}, {NULL, NULL}};
    ah_handle_type(L, ROOT, root_methods, root_meta);
    ah_handle_type(L, APPENDER, appender_methods, appender_meta);
    ah_handle_type(L, LIST, NULL, list_meta);
    luaL_setfuncs(L, functions, 0);
}
