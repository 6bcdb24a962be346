/* The zlib-ng that this module was linked with, if it was (FASTZIP_ZLIB_NG=system): its functions' addresses, in
 * the order of _core.bind_zlib_ng. */
#ifndef FASTZIP_LINKED_H
#define FASTZIP_LINKED_H
#include <stdint.h>

#ifdef FASTZIP_LINK_ZLIB_NG
#include <zlib-ng.h>
#define FZ_LINKED 1
static int fz_init2(zng_stream *s, int bits, const char *version, int size) {
    (void)version;
    return size == (int)sizeof(zng_stream) ? zng_inflateInit2(s, bits) : Z_VERSION_ERROR;
}
static const char *fz_version(void) { return zlibng_version(); }
static uintptr_t fz_linked(int i) {
    switch (i) {
        case 0: return (uintptr_t)fz_init2;
        case 1: return (uintptr_t)zng_inflate;
        case 2: return (uintptr_t)zng_inflateReset;
        case 3: return (uintptr_t)zng_inflateEnd;
        default: return (uintptr_t)zng_crc32_z;
    }
}
#else
#define FZ_LINKED 0
static const char *fz_version(void) { return ""; }
static uintptr_t fz_linked(int i) { (void)i; return 0; }
#endif
#endif
