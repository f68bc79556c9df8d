/* Counts what a process does to the files of one folder, and at one of these operations kills it or
 * lets the operation fail. Preloaded (LD_PRELOAD) into the command that is tortured.
 *
 * In, from the environment: TORTURE_FOLDER (absolute), TORTURE_COUNTER (a file of 8 bytes that all
 * processes share), TORTURE_LOG (a line per operation), TORTURE_AT (which operation; 0: none),
 * TORTURE_ERROR (an errno; 0: kill), TORTURE_ONCE (1: only that operation fails). `torture_arm` sets
 * the same in a process that was forked.
 *
 * A write that is killed is torn: half of its bytes are written first. Other operations are hit
 * before they begin. A failure lasts unless it is to happen once: from the chosen operation on,
 * everything fails that needs what is missing. Removing and shortening need no space. Who has too
 * many files open can still use them. The error -1 is none: each write takes half of its bytes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static char folder[PATH_MAX];
static long at;
static int error_number;
static int once;
static volatile long *counter;
static int log_file = -1;

void torture_arm(const char *path, const char *counter_path, const char *log_path, long number, int error,
                 int only_once)
{
    int file = syscall(SYS_openat, AT_FDCWD, counter_path, O_RDWR | O_CLOEXEC, 0);
    void *memory = file < 0 ? MAP_FAILED : mmap(NULL, sizeof(long), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED) {
        fprintf(stderr, "torture: %s: %s\n", counter_path, strerror(errno));
        abort();
    }
    counter = memory;
    log_file = syscall(SYS_openat, AT_FDCWD, log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    snprintf(folder, sizeof folder, "%s", path);
    at = number;
    error_number = error;
    once = only_once;
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("TORTURE_FOLDER");
    if (path)
        torture_arm(path, getenv("TORTURE_COUNTER"), getenv("TORTURE_LOG"), atol(getenv("TORTURE_AT")),
                    atoi(getenv("TORTURE_ERROR")), atoi(getenv("TORTURE_ONCE")));
}

static int inside(const char *path)
{
    size_t length = strlen(folder);
    return length && path && !strncmp(path, folder, length) && (path[length] == '/' || !path[length]);
}

static int file_inside(int file, char *path)
{
    char link[64];
    if (!*folder)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return inside(path);
}

/* Count an operation. 1: it is the one to be hit, or one behind it that shall fail too. */
static int hit(const char *name, const char *path)
{
    char line[PATH_MAX + 64];
    long number = __atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST);
    int length = snprintf(line, sizeof line, "%ld %s %s\n", number, name, path + strlen(folder));
    if (log_file >= 0)
        syscall(SYS_write, log_file, line, length);
    if (!at || number < at || (number > at && (!error_number || once)))
        return 0;
    return error_number != EMFILE || !strcmp(name, "open");
}

static void die(void)
{
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;)
        pause();
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Kill, or fail with the chosen error. */
#define HIT(name, path)                       \
    if (hit(name, path)) {                    \
        if (!error_number)                    \
            die();                            \
        if (error_number > 0) {               \
            errno = error_number;             \
            return -1;                        \
        }                                     \
    }

ssize_t write(int file, const void *bytes, size_t count)
{
    char path[PATH_MAX];
    if (file_inside(file, path) && hit("write", path)) {
        if (!error_number) {
            syscall(SYS_write, file, bytes, count / 2);
            die();
        }
        int first = __atomic_load_n(counter, __ATOMIC_SEQ_CST) == at && !once;
        if (count > 1 && (error_number < 0 || first)) /* a full disk takes what still fits */
            return syscall(SYS_write, file, bytes, count / 2);
        if (error_number < 0)
            return syscall(SYS_write, file, bytes, count);
        errno = error_number;
        return -1;
    }
    return syscall(SYS_write, file, bytes, count);
}

#define ON_FILE(result, name, parameters, arguments) \
    result name parameters                           \
    {                                                \
        char path[PATH_MAX];                         \
        if (file_inside(file, path))                 \
            HIT(#name, path)                         \
        return NEXT(name) arguments;                 \
    }

ON_FILE(int, fsync, (int file), (file))
ON_FILE(int, fdatasync, (int file), (file))

/* Removing and shortening work where only space is missing. */
#define FREES(name, path)                                                     \
    if (error_number == ENOSPC || error_number == EDQUOT)                     \
        hit(name, path);                                                      \
    else                                                                      \
        HIT(name, path)

int ftruncate(int file, off_t length)
{
    char path[PATH_MAX];
    if (file_inside(file, path)) {
        FREES("ftruncate", path)
    }
    return NEXT(ftruncate)(file, length);
}

int ftruncate64(int file, off64_t length)
{
    char path[PATH_MAX];
    if (file_inside(file, path)) {
        FREES("ftruncate", path)
    }
    return NEXT(ftruncate64)(file, length);
}

int truncate(const char *path, off_t length)
{
    if (inside(path)) {
        FREES("truncate", path)
    }
    return NEXT(truncate)(path, length);
}

int truncate64(const char *path, off64_t length)
{
    if (inside(path)) {
        FREES("truncate", path)
    }
    return NEXT(truncate64)(path, length);
}

int unlinkat(int file, const char *name, int flags)
{
    char path[PATH_MAX];
    if (file_inside(file, path)) { /* as the removal of a whole folder does it */
        FREES("unlinkat", path)
    }
    return NEXT(unlinkat)(file, name, flags);
}

int rmdir(const char *path)
{
    if (inside(path)) {
        FREES("rmdir", path)
    }
    return NEXT(rmdir)(path);
}

int unlink(const char *path)
{
    if (inside(path)) {
        FREES("unlink", path)
    }
    return NEXT(unlink)(path);
}

int rename(const char *from, const char *to)
{
    if (inside(to))
        HIT("rename", to)
    return NEXT(rename)(from, to);
}

int link(const char *from, const char *to)
{
    if (inside(to))
        HIT("link", to)
    return NEXT(link)(from, to);
}

int mkdir(const char *path, mode_t mode)
{
    if (inside(path))
        HIT("mkdir", path)
    return NEXT(mkdir)(path, mode);
}

#define OPENS(name)                                                    \
    int name(const char *path, int flags, ...)                         \
    {                                                                  \
        va_list rest;                                                  \
        va_start(rest, flags);                                         \
        mode_t mode = va_arg(rest, mode_t);                            \
        va_end(rest);                                                  \
        if ((flags & (O_WRONLY | O_RDWR | O_CREAT)) && inside(path))   \
            HIT("open", path)                                          \
        return NEXT(name)(path, flags, mode);                          \
    }

OPENS(open)
OPENS(open64)
