/* Makes reads, writes and the start of threads fail, for tests.
 *
 *     gcc -shared -fPIC -O1 faultio.c -o faultio.so -ldl
 *
 * It is preloaded, behind a sanitizer's runtime if there is one: that one's read() calls the next
 * one's, which is ours. It does nothing until it is armed from within the process (ctypes):
 *
 *     faultio_arm(call, part, fault, after, times, at, amount)
 *         the calls of this name ("pread64", …; NULL: all that read but "syscall") that are about a
 *         file whose path contains `part` (and byte `at` of it, unless that is -1) are counted; the first `after` of
 *         them pass, the next `times` get the fault:
 *             "fail"   -1 and errno `amount`
 *             "short"  at most `amount` bytes; 0: half of what was asked for
 *             "zero"   0, as at the end of a file
 *             "flip"   the bytes, with one bit of byte `at` (-1: the one in the middle) flipped
 *             "delay"  the bytes, after `amount` microseconds
 *     faultio_threads(after, times)
 *         the same for pthread_create, which fails with EAGAIN
 *     faultio_disarm()
 *     faultio_injected(call)
 *         how many calls of this name got a fault since it was last armed; NULL: of all names
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum fault { NONE, FAIL, SHORT, ZERO, FLIP, DELAY };
enum call { READ, PREAD, PREAD64, PREADV, PREADV64, PREADV2, SYSCALL, WRITE, PTHREAD_CREATE, CALLS };

static const char *const fault_names[] = { "", "fail", "short", "zero", "flip", "delay" };
static const char *const call_names[] = {
    "read", "pread", "pread64", "preadv", "preadv64", "preadv2", "syscall", "write", "pthread_create"
};

/* Written while nobody reads, but for `fault` and `refuse`: they are the last to be set. */
static enum fault fault;
static int wanted;                         /* a bit for each call */
static char part[PATH_MAX];
static long after, times, at, amount, seen;
static int refuse;
static long refuse_after, refuse_times, started;
static long injected[CALLS];

#define LOAD(x) __atomic_load_n(&(x), __ATOMIC_ACQUIRE)
#define STORE(x, v) __atomic_store_n(&(x), v, __ATOMIC_RELEASE)
#define COUNT(x) __atomic_fetch_add(&(x), 1, __ATOMIC_RELAXED)

void faultio_disarm(void) {
    STORE(fault, NONE);
    STORE(refuse, 0);
}

static void forget(void) {
    faultio_disarm();
    seen = started = 0;
    for (int i = 0; i < CALLS; i++) injected[i] = 0;
}

int faultio_arm(const char *call, const char *path, const char *name, long first, long n, long byte,
                long much) {
    forget();
    if (strlen(path) >= sizeof part) return -1;
    strcpy(part, path);
    wanted = 0;
    for (int i = 0; i < CALLS; i++)
        if (call ? !strcmp(call, call_names[i]) : i < SYSCALL) wanted |= 1 << i;
    after = first, times = n, at = byte, amount = much;
    for (enum fault f = FAIL; f <= DELAY; f++)
        if (!strcmp(name, fault_names[f])) { STORE(fault, f); return 0; }
    return -1;
}

void faultio_threads(long first, long n) {
    forget();
    refuse_after = first, refuse_times = n;
    STORE(refuse, 1);
}

long faultio_injected(const char *name) {
    long sum = 0;
    for (int i = 0; i < CALLS; i++)
        if (!name || !strcmp(name, call_names[i])) sum += LOAD(injected[i]);
    return sum;
}

static int meant(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return strstr(path, part) != NULL;
}

/* What happens to this call? For FAIL, errno is set. `offset` -1: from the file's position. */
static enum fault due(enum call call, int fd, off_t offset, size_t n) {
    enum fault f = LOAD(fault);
    int before = errno;
    if (f == NONE || n == 0 || !(wanted & 1 << call)) return NONE;
    if (!meant(fd)) { errno = before; return NONE; }
    if (at >= 0) {
        if (offset < 0) offset = lseek(fd, 0, SEEK_CUR);
        if (at < offset || at >= offset + (off_t)n) { errno = before; return NONE; }
    }
    long nth = COUNT(seen);
    if (nth < after || nth - after >= times) { errno = before; return NONE; }
    COUNT(injected[call]);
    if (f == DELAY) {
        struct timespec left = { amount / 1000000, amount % 1000000 * 1000 };
        while (nanosleep(&left, &left) && errno == EINTR) {}
    }
    errno = f == FAIL ? (int)amount : before;
    return f;
}

static size_t fewer(size_t n) {
    size_t most = amount > 0 ? (size_t)amount : n / 2;
    return most < 1 ? 1 : most < n ? most : n;
}

/* Flips a bit in `got` bytes, which stand at `offset` of the file. */
static void flip(const struct iovec *v, int count, ssize_t got, off_t offset) {
    if (got <= 0) return;
    size_t where = at >= 0 && offset >= 0 ? (size_t)(at - offset) : (size_t)got / 2;
    if (where >= (size_t)got) return;
    for (int i = 0; i < count; i++) {
        if (where < v[i].iov_len) {
            ((unsigned char *)v[i].iov_base)[where] ^= 0x10;
            return;
        }
        where -= v[i].iov_len;
    }
}

static void *next(void **kept, const char *name) {
    void *f = LOAD(*kept);
    if (!f) {
        f = dlsym(RTLD_NEXT, name);
        if (!f) abort();
        STORE(*kept, f);
    }
    return f;
}

#define REAL(type, name) static void *kept; type real = (type)next(&kept, name)

typedef ssize_t (*read_fn)(int, void *, size_t);
typedef ssize_t (*write_fn)(int, const void *, size_t);
typedef ssize_t (*pread_fn)(int, void *, size_t, off_t);
typedef ssize_t (*preadv_fn)(int, const struct iovec *, int, off_t);
typedef ssize_t (*preadv2_fn)(int, const struct iovec *, int, off_t, int);

ssize_t read(int fd, void *b, size_t n) {
    REAL(read_fn, "read");
    off_t offset = LOAD(fault) == FLIP ? lseek(fd, 0, SEEK_CUR) : -1;
    enum fault f = due(READ, fd, -1, n);
    if (f == FAIL) return -1;
    if (f == ZERO) return 0;
    ssize_t got = real(fd, b, f == SHORT ? fewer(n) : n);
    if (f == FLIP) flip(&(struct iovec){ b, n }, 1, got, offset);
    return got;
}

/* "zero" and "flip" are for reads. */
ssize_t write(int fd, const void *b, size_t n) {
    REAL(write_fn, "write");
    enum fault f = due(WRITE, fd, -1, n);
    return f == FAIL ? -1 : real(fd, b, f == SHORT ? fewer(n) : n);
}

static ssize_t pread_by(pread_fn real, enum call call, int fd, void *b, size_t n, off_t offset) {
    enum fault f = due(call, fd, offset, n);
    if (f == FAIL) return -1;
    if (f == ZERO) return 0;
    ssize_t got = real(fd, b, f == SHORT ? fewer(n) : n, offset);
    if (f == FLIP) flip(&(struct iovec){ b, n }, 1, got, offset);
    return got;
}

ssize_t pread(int fd, void *b, size_t n, off_t offset) {
    REAL(pread_fn, "pread");
    return pread_by(real, PREAD, fd, b, n, offset);
}

ssize_t pread64(int fd, void *b, size_t n, off64_t offset) {
    REAL(pread_fn, "pread64");
    return pread_by(real, PREAD64, fd, b, n, offset);
}

static ssize_t preadv_by(preadv2_fn real, preadv_fn plain, enum call call, int fd,
                         const struct iovec *v, int count, off_t offset, int flags) {
    struct iovec some[16];
    size_t n = 0;
    ssize_t got;
    if (count < 1 || count > 16)
        return plain ? plain(fd, v, count, offset) : real(fd, v, count, offset, flags);
    memcpy(some, v, (size_t)count * sizeof *v);
    for (int i = 0; i < count; i++) n += v[i].iov_len;
    enum fault f = due(call, fd, offset, n);
    if (f == FAIL) return -1;
    if (f == ZERO) return 0;
    if (f == SHORT) {
        size_t left = fewer(n);
        for (int i = 0; i < count; i++) {
            if (some[i].iov_len > left) some[i].iov_len = left;
            left -= some[i].iov_len;
        }
    }
    got = plain ? plain(fd, some, count, offset) : real(fd, some, count, offset, flags);
    if (f == FLIP) flip(v, count, got, offset);
    return got;
}

ssize_t preadv(int fd, const struct iovec *v, int count, off_t offset) {
    REAL(preadv_fn, "preadv");
    return preadv_by(NULL, real, PREADV, fd, v, count, offset, 0);
}

ssize_t preadv64(int fd, const struct iovec *v, int count, off64_t offset) {
    REAL(preadv_fn, "preadv64");
    return preadv_by(NULL, real, PREADV64, fd, v, count, offset, 0);
}

ssize_t preadv2(int fd, const struct iovec *v, int count, off_t offset, int flags) {
    REAL(preadv2_fn, "preadv2");
    return preadv_by(real, NULL, PREADV2, fd, v, count, offset, flags);
}

/* preadv2 by number: only that it fails. With EAGAIN a file looks as if it weren't cached. */
long syscall(long number, ...) {
    REAL(__typeof__(syscall) *, "syscall");
    va_list list;
    long a[6];
    va_start(list, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_preadv2 && LOAD(fault) == FAIL && due(SYSCALL, (int)a[0], a[3], 1) == FAIL)
        return -1;
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int pthread_create(pthread_t *id, const pthread_attr_t *attr, void *(*work)(void *), void *arg) {
    REAL(__typeof__(pthread_create) *, "pthread_create");
    if (LOAD(refuse)) {
        long nth = COUNT(started);
        if (nth >= refuse_after && nth - refuse_after < refuse_times) {
            COUNT(injected[PTHREAD_CREATE]);
            return EAGAIN;
        }
    }
    return real(id, attr, work, arg);
}
