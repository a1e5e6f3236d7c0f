/* Faults at the n-th operation on files below one folder, preloaded into a whole process
 * (LD_PRELOAD), so that Python, Arrow, numpy, FAISS and DuckDB all meet them.
 *
 * Nothing happens until torture_arm() is called; it is called in a forked child, whose memory is
 * its own, so the parent is never harmed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum mode { OFF, COUNT, DIE, TORN, FAIL, STAY, SHORT, QUOTA };
enum { WRITES = 1, READS = 2, BYTES = 4 }; /* the last: of more than one byte */
/* What an operation is: it adds bytes, it changes names or asks for a flush, or it reads. */
enum sort { ADDS, CHANGES, LOOKS };

static char root[PATH_MAX];
static size_t root_length;
static int mode = OFF, kinds, code, report = -1;
static long long target;
static atomic_llong count, budget;
static atomic_int fired;

long long torture_count(void) { return atomic_load(&count); }
int torture_fired(void) { return atomic_load(&fired); }
void torture_disarm(void) { mode = OFF; }

void torture_arm(const char *folder, int how, int of, long long number, int error, int to) {
    snprintf(root, sizeof root, "%s", folder);
    root_length = strlen(root);
    kinds = of, target = number, code = error, report = to;
    atomic_store(&count, 0), atomic_store(&fired, 0), atomic_store(&budget, number);
    mode = how;
}

#define REAL(result, name, ...)                                                       \
    static result (*real)(__VA_ARGS__);                                               \
    if (!real) real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

static int within(const char *path) {
    return !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

/* Whether a path, relative to an open folder or to the working one, lies below the root. */
static int near_path(int folder, const char *path) {
    char name[PATH_MAX], link[64];
    if (mode == OFF || !path) return 0;
    if (path[0] == '/') return within(path);
    ssize_t got;
    if (folder == AT_FDCWD) {
        if (!getcwd(name, sizeof name)) return 0;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        if ((got = readlink(link, name, sizeof name - 1)) < 0) return 0;
        name[got] = 0;
    }
    return within(name);
}

static int near_file(int fd) {
    char link[64], name[PATH_MAX];
    if (mode == OFF || fd < 0 || fd == report) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t got = readlink(link, name, sizeof name - 1);
    if (got <= 0) return 0;
    name[got] = 0;
    return within(name);
}

static void tell(const char *name) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    if (!atomic_exchange(&fired, 1) && report >= 0) {
        char line[64];
        int length = snprintf(line, sizeof line, "at %s\n", name);
        if (real(report, line, length) < 0) return;
    }
}

/* What becomes of an operation: 0 nothing, 1 it fails with `code`, 2 half of it is done and the
 * process dies, 3 half of it is done, 4 it is done and the process dies. */
static int fate(const char *name, enum sort sort, size_t bytes) {
    if (mode == QUOTA) {
        if (sort != ADDS) return 0;
        if (atomic_fetch_sub(&budget, (long long)bytes + 1) > (long long)bytes) return 0;
        tell(name);
        code = ENOSPC;
        return 1;
    }
    int is = sort == LOOKS ? READS : sort == ADDS && bytes > 1 ? WRITES | BYTES : WRITES;
    if (!(kinds & is)) return 0;
    long long n = atomic_fetch_add(&count, 1) + 1;
    if (mode == COUNT || n < target) return 0;
    if (mode == STAY) {
        if (code == ENOSPC && sort != ADDS) return 0; /* a full disk still lets one delete */
        tell(name);
        return 1;
    }
    if (n != target) return 0;
    tell(name);
    if (mode == DIE) _exit(137);
    if (mode == TORN) return bytes > 1 ? 2 : 4;
    return mode == SHORT ? 3 : 1;
}

#define FAILED(name, sort)                         \
    int f = fate(name, sort, 0);                   \
    if (f == 1) {                                  \
        errno = code;                              \
        return -1;                                 \
    }
#define AFTER(result)             \
    do {                          \
        int e = errno;            \
        if (f == 4) _exit(137);   \
        errno = e;                \
        return result;            \
    } while (0)

static enum sort sort_of(int flags) {
    if (flags & (O_CREAT | O_TRUNC)) return ADDS;
    return (flags & O_ACCMODE) == O_RDONLY ? LOOKS : CHANGES;
}

#define OPEN(name)                                                    \
    int name(const char *path, int flags, ...) {                      \
        REAL(int, name, const char *, int, ...);                      \
        va_list rest;                                                 \
        va_start(rest, flags);                                        \
        mode_t bits = va_arg(rest, mode_t);                           \
        va_end(rest);                                                 \
        if (!near_path(AT_FDCWD, path)) return real(path, flags, bits); \
        FAILED("open", sort_of(flags))                                \
        int got = real(path, flags, bits);                            \
        AFTER(got);                                                   \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                        \
    int name(int folder, const char *path, int flags, ...) {                \
        REAL(int, name, int, const char *, int, ...);                       \
        va_list rest;                                                       \
        va_start(rest, flags);                                              \
        mode_t bits = va_arg(rest, mode_t);                                 \
        va_end(rest);                                                       \
        if (!near_path(folder, path)) return real(folder, path, flags, bits); \
        FAILED("openat", sort_of(flags))                                    \
        int got = real(folder, path, flags, bits);                          \
        AFTER(got);                                                         \
    }
OPENAT(openat)
OPENAT(openat64)

/* stdio calls the system below its own names, so it is met at its own */
#define FOPEN(name)                                                   \
    FILE *name(const char *path, const char *how) {                   \
        REAL(FILE *, name, const char *, const char *);               \
        if (!near_path(AT_FDCWD, path)) return real(path, how);       \
        int f = fate("fopen", how[0] == 'r' ? LOOKS : ADDS, 0);       \
        if (f == 1) {                                                 \
            errno = code;                                             \
            return NULL;                                              \
        }                                                             \
        FILE *got = real(path, how);                                  \
        AFTER(got);                                                   \
    }
FOPEN(fopen)
FOPEN(fopen64)

size_t fwrite(const void *data, size_t size, size_t n, FILE *file) {
    REAL(size_t, fwrite, const void *, size_t, size_t, FILE *);
    if (mode == OFF || !near_file(fileno(file))) return real(data, size, n, file);
    int f = fate("fwrite", ADDS, size * n);
    if (f == 1) {
        errno = code;
        return 0;
    }
    if (f == 2 || f == 3) n = f == 2 ? n / 2 : n;
    size_t got = real(data, size, n, file);
    if (f == 2) {
        fflush(file);
        _exit(137);
    }
    AFTER(got);
}

int fflush(FILE *file) {
    REAL(int, fflush, FILE *);
    if (mode == OFF || !file || !near_file(fileno(file))) return real(file);
    int f = fate("fflush", ADDS, 0);
    if (f == 1) {
        errno = code;
        return EOF;
    }
    int got = real(file);
    AFTER(got);
}

#define HALVED(name, call)                  \
    int f = fate(name, ADDS, size);         \
    if (f == 1) {                           \
        errno = code;                       \
        return -1;                          \
    }                                       \
    if (f == 2 || f == 3) size /= 2;        \
    ssize_t got = call;                     \
    if (f == 2 || f == 4) _exit(137);       \
    return got

ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, write, int, const void *, size_t);
    if (!near_file(fd)) return real(fd, data, size);
    HALVED("write", real(fd, data, size));
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    REAL(ssize_t, pwrite, int, const void *, size_t, off_t);
    if (!near_file(fd)) return real(fd, data, size, at);
    HALVED("pwrite", real(fd, data, size, at));
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    if (!near_file(fd)) return real(fd, data, size, at);
    HALVED("pwrite", real(fd, data, size, at));
}
ssize_t writev(int fd, const struct iovec *parts, int n) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    if (!near_file(fd)) return real(fd, parts, n);
    size_t size = n; /* half of the parts */
    HALVED("writev", real(fd, parts, (int)size));
}
#define READER(name, call)             \
    if (!near_file(fd)) return call;   \
    FAILED(name, LOOKS)                \
    ssize_t got = call;                \
    AFTER(got)
ssize_t read(int fd, void *data, size_t size) {
    REAL(ssize_t, read, int, void *, size_t);
    READER("read", real(fd, data, size));
}
ssize_t pread(int fd, void *data, size_t size, off_t at) {
    REAL(ssize_t, pread, int, void *, size_t, off_t);
    READER("pread", real(fd, data, size, at));
}
ssize_t pread64(int fd, void *data, size_t size, off64_t at) {
    REAL(ssize_t, pread64, int, void *, size_t, off64_t);
    READER("pread", real(fd, data, size, at));
}
ssize_t sendfile64(int fd, int from, off64_t *at, size_t size) {
    REAL(ssize_t, sendfile64, int, int, off64_t *, size_t);
    if (!near_file(fd)) return real(fd, from, at, size);
    HALVED("sendfile", real(fd, from, at, size));
}
ssize_t sendfile(int fd, int from, off_t *at, size_t size) {
    REAL(ssize_t, sendfile, int, int, off_t *, size_t);
    if (!near_file(fd)) return real(fd, from, at, size);
    HALVED("sendfile", real(fd, from, at, size));
}
ssize_t copy_file_range(int from, off64_t *a, int fd, off64_t *b, size_t size, unsigned flags) {
    REAL(ssize_t, copy_file_range, int, off64_t *, int, off64_t *, size_t, unsigned);
    if (!near_file(fd)) return real(from, a, fd, b, size, flags);
    HALVED("copy_file_range", real(from, a, fd, b, size, flags));
}

#define ON_FILE(name)                      \
    int name(int fd) {                     \
        REAL(int, name, int);              \
        if (!near_file(fd)) return real(fd); \
        FAILED(#name, ADDS)                \
        int got = real(fd);                \
        AFTER(got);                        \
    }
ON_FILE(fsync)
ON_FILE(fdatasync)

#define CUT(name, type)                                       \
    int name(int fd, type size) {                             \
        REAL(int, name, int, type);                           \
        if (!near_file(fd)) return real(fd, size);            \
        FAILED(#name, CHANGES)                                \
        int got = real(fd, size);                             \
        AFTER(got);                                           \
    }
CUT(ftruncate, off_t)
CUT(ftruncate64, off64_t)

#define ON_PATH(name, sort, parameters, types, arguments)     \
    int name parameters {                                     \
        static int(*real) types;                              \
        if (!real) real = (int(*) types)dlsym(RTLD_NEXT, #name); \
        if (!near_path(AT_FDCWD, path)) return real arguments; \
        FAILED(#name, sort)                                   \
        int got = real arguments;                             \
        AFTER(got);                                           \
    }
ON_PATH(truncate, CHANGES, (const char *path, off_t size), (const char *, off_t), (path, size))
ON_PATH(truncate64, CHANGES, (const char *path, off64_t size), (const char *, off64_t), (path, size))
ON_PATH(unlink, CHANGES, (const char *path), (const char *), (path))
ON_PATH(rmdir, CHANGES, (const char *path), (const char *), (path))
ON_PATH(mkdir, ADDS, (const char *path, mode_t bits), (const char *, mode_t), (path, bits))
ON_PATH(rename, CHANGES, (const char *path, const char *to), (const char *, const char *), (path, to))
ON_PATH(link, ADDS, (const char *path, const char *to), (const char *, const char *), (path, to))

int unlinkat(int folder, const char *path, int flags) {
    REAL(int, unlinkat, int, const char *, int);
    if (!near_path(folder, path)) return real(folder, path, flags);
    FAILED("unlinkat", CHANGES)
    int got = real(folder, path, flags);
    AFTER(got);
}
int mkdirat(int folder, const char *path, mode_t bits) {
    REAL(int, mkdirat, int, const char *, mode_t);
    if (!near_path(folder, path)) return real(folder, path, bits);
    FAILED("mkdirat", ADDS)
    int got = real(folder, path, bits);
    AFTER(got);
}
int renameat(int from, const char *path, int to, const char *other) {
    REAL(int, renameat, int, const char *, int, const char *);
    if (!near_path(from, path)) return real(from, path, to, other);
    FAILED("renameat", CHANGES)
    int got = real(from, path, to, other);
    AFTER(got);
}
