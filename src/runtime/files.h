/* Writing extracted members: many small files at once, each complete or not there at all. */
#ifndef FASTZIP_FILES_H
#define FASTZIP_FILES_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    int folder;                            /* descriptor of the folder that the file goes into */
    const char *name;                      /* in that folder; holds no slash */
    const uint8_t *data;
    size_t size;
} file_job;

/* Write one file under a temporary name, `serial` making it unique in this process, and rename it: what
 * stood there before is replaced as a whole, and a link there is replaced, not followed. Returns 0, or a
 * negated errno; nothing of it is left then. */
int file_write(const file_job *job, unsigned long long salt, unsigned long long serial);

#endif
