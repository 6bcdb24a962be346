#define _GNU_SOURCE
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define WRITE_LIMIT ((size_t)16 << 20)     /* far below the 0x7ffff000 that one write takes at most */

static int write_all(int fd, const uint8_t *p, size_t n) {
    while (n) {
        ssize_t done = write(fd, p, n < WRITE_LIMIT ? n : WRITE_LIMIT);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return -errno;
        p += done;
        n -= (size_t)done;
    }
    return 0;
}

int file_write(const file_job *job, unsigned long long salt, unsigned long long serial) {
    char temporary[64];
    snprintf(temporary, sizeof temporary, ".fastzip-%016llx-%llx", salt, serial);
    int fd = openat(job->folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0) return -errno;
    int status = write_all(fd, job->data, job->size);
    if (close(fd) && !status && errno != EINTR) status = -errno;     /* NFS reports a full disk here */
    if (!status && renameat(job->folder, temporary, job->folder, job->name)) status = -errno;
    if (status) unlinkat(job->folder, temporary, 0);
    return status;
}
