/* Makes syncs fail, or slow: preloaded into the service by scripts/check/crash and overload.
 *
 * Every fsync and fdatasync of a file whose name holds FAULT_FILES is told to FAULT_LOG:
 * when it began and ended (CLOCK_MONOTONIC, ns), its result, the file. From the moment
 * FAULT_TRIGGER exists those of files whose name ends with FAULT_SUFFIX fail with EIO instead: the
 * first FAULT_TIMES on each descriptor, or all when FAULT_TIMES is 0. Once on each descriptor is what
 * Linux does after a write that failed: then the pages count as clean, and the next sync succeeds.
 * With FAULT_DELAY_MS they do not fail but take at least that long, as on a slow disk.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DESCRIPTORS 1024

static atomic_long failed[DESCRIPTORS];

static const char *setting(const char *name) {
    const char *value = getenv(name);
    return value ? value : "";
}

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int ends_with(const char *text, const char *ending) {
    size_t all = strlen(text), end = strlen(ending);
    return end > 0 && end <= all && strcmp(text + all - end, ending) == 0;
}

static int name_of(int fd, char *name, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, name, size - 1);
    name[length > 0 ? length : 0] = 0;
    return length > 0;
}

static int is_faulty(const char *name) {
    return ends_with(name, setting("FAULT_SUFFIX")) && access(setting("FAULT_TRIGGER"), F_OK) == 0;
}

static int must_fail(int fd, const char *name) {
    if (*setting("FAULT_DELAY_MS") || !is_faulty(name))
        return 0;
    long times = atol(setting("FAULT_TIMES"));
    return times == 0 || atomic_fetch_add(&failed[fd % DESCRIPTORS], 1) < times;
}

static void take_time(long long began, const char *name) {
    if (!*setting("FAULT_DELAY_MS") || !is_faulty(name))
        return;
    long long left = began + atol(setting("FAULT_DELAY_MS")) * 1000000LL - now();
    struct timespec time = {left / 1000000000LL, left % 1000000000LL};
    if (left > 0)
        nanosleep(&time, NULL);
}

/* One write of one line, so that threads do not mix theirs. */
static void tell(long long began, int result, const char *name) {
    char line[PATH_MAX + 96];
    int length = snprintf(line, sizeof line, "%lld %lld %d %s\n", began, now(), result, name);
    int log = open(setting("FAULT_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0 || write(log, line, length) != length)
        abort(); /* A check without its log would find nothing. */
    close(log);
}

static int sync_by(const char *call, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, call);
    char name[PATH_MAX];
    if (!name_of(fd, name, sizeof name) || !strstr(name, setting("FAULT_FILES")) || !*setting("FAULT_LOG"))
        return real(fd);
    long long began = now();
    int fail = must_fail(fd, name);
    int result = fail ? -1 : real(fd);
    int error = fail ? EIO : errno;
    take_time(began, name);
    tell(began, result, name);
    errno = error;
    return result;
}

int fsync(int fd) { return sync_by("fsync", fd); }
int fdatasync(int fd) { return sync_by("fdatasync", fd); }
