/* The one error enum of the native core. Every native function that can fail returns one of these
 * (or, for failed I/O, the negated errno); fastzip/errors.py turns them into exceptions, and nothing
 * else does. The lower-case name is the public reason code (`exc.code`). */
#ifndef FASTZIP_STATUS_H
#define FASTZIP_STATUS_H

#define FZ_STATUSES(X) \
    X(OK, "ok") \
    /* The archive as a whole: found when it is opened. */ \
    X(TOO_SHORT, "too_short") \
    X(NO_EOCD, "no_eocd") \
    X(COMMENT_LENGTH, "comment_length") \
    X(AMBIGUOUS_END, "ambiguous_end") \
    X(AMBIGUOUS_PREFIX, "ambiguous_prefix") \
    X(MULTI_DISK, "multi_disk") \
    X(ZIP64_RECORD, "zip64_record") \
    X(ZIP64_LOCATOR, "zip64_locator") \
    X(ZIP64_VERSION, "zip64_version") \
    X(ZIP64_CONFLICT, "zip64_conflict") \
    X(ZIP64_SENTINEL, "zip64_sentinel") \
    X(CD_RANGE, "cd_range") \
    X(CD_MAGIC, "cd_magic") \
    X(COUNT, "count") \
    X(COUNT_TOO_LARGE, "count_too_large") \
    X(CD_ENTRY, "cd_entry") \
    X(CD_ENTRY_OVERRUN, "cd_entry_overrun") \
    X(CD_TRAILING, "cd_trailing") \
    /* What strict=True refuses, and limits of the caller's. */ \
    X(BEHIND_ARCHIVE, "behind_archive") \
    X(ZIP64_DISKS, "zip64_disks") \
    X(PREFIX, "prefix") \
    X(DUPLICATE_NAME, "duplicate_name") \
    X(MAX_MEMBERS, "max_members") \
    X(MAX_TOTAL_SIZE, "max_total_size") \
    /* One member: found when that member is read; the others stay readable. */ \
    X(EXTRA_OVERRUN, "extra_overrun") \
    X(ZIP64_EXTRA_DUPLICATE, "zip64_extra_duplicate") \
    X(ZIP64_EXTRA_SHORT, "zip64_extra_short") \
    X(ZIP64_EXTRA_MISSING, "zip64_extra_missing") \
    X(VERSION_NEEDED, "version_needed") \
    X(MAX_MEMBER_SIZE, "max_member_size") \
    X(NAME_NUL, "name_nul") \
    X(NAME_UTF8, "name_utf8") \
    X(ENCRYPTED, "encrypted") \
    X(FLAGS, "flags") \
    X(METHOD, "method") \
    X(OVERLAP, "overlap") \
    X(LFH_MAGIC, "lfh_magic") \
    X(LFH_NAME, "lfh_name") \
    X(LFH_METHOD, "lfh_method") \
    X(LFH_FLAGS, "lfh_flags") \
    X(LFH_SIZES, "lfh_sizes") \
    X(DESCRIPTOR, "descriptor") \
    X(STORED_SIZE, "stored_size") \
    X(IMPOSSIBLE_SIZE, "impossible_size") \
    X(DEFLATE, "deflate") \
    X(TRUNCATED_STREAM, "truncated_stream") \
    X(TOO_LONG, "too_long") \
    X(TOO_SHORT_STREAM, "too_short_stream") \
    X(TRAILING_DATA, "trailing_data") \
    X(CRC, "crc") \
    X(DIRECTORY_WITH_DATA, "directory_with_data") \
    X(GAP, "gap") \
    /* The machine underneath. */ \
    X(SHORT_READ, "short_read") \
    X(MEMORY, "memory") \
    X(CLOSED, "closed") \
    X(INTERRUPTED, "interrupted") \
    /* Not errors for a caller to see: a batch reader parses that member's .npy header, or reads
     * more of the file, and tries again. */ \
    X(OTHER_HEADER, "other_header") \
    X(READ_MORE, "read_more")

#define FZ_ENUM(name, code) FZ_##name,
typedef enum { FZ_STATUSES(FZ_ENUM) FZ_STATUS_COUNT } fz_status;
#undef FZ_ENUM

#define FZ_CODE(name, code) code,
static const char *const fz_status_codes[] = { FZ_STATUSES(FZ_CODE) };
#undef FZ_CODE

#endif
