/* The interleaved engine: inflates (RFC 1951) up to four independent streams side by side on one thread.
 *
 * One stream alone waits: for the table lookup that says where the next code begins, or for a
 * mispredicted branch between literal and match. Four streams in one loop, branchless and stage by stage,
 * fill that time with each other's work.
 *
 * Memory: nothing is read outside src[0 .. src_len) and nothing outside dst[0 .. dst_room) is read or
 * written. No padding is asked for: input ends are copied to padded memory of the kernel's own, and
 * output ends are written symbol by symbol. Room behind dst_len (INTERLEAVED_ROOM is as much as can be
 * used) spares a job that slow end; what is written there is rubbish.
 *
 * A job is DONE only if its stream is exactly src_len bytes, all of it valid, and makes exactly dst_len
 * bytes. Whatever is REFUSED may have left anything in dst[0 .. dst_room); it says no more, since a
 * careful engine has the verdict. No job can affect another one.
 *
 * Gains that comments in these files name were measured while this was designed, on a wider CPU than most;
 * bench/kernel.py measures the whole, and docs/architecture.md has what came out.
 *
 * Thread-safe as long as each thread has a state of its own. No Python.h. */
#ifndef FASTZIP_INTERLEAVED_H
#define FASTZIP_INTERLEAVED_H
#include <stddef.h>
#include <stdint.h>

enum { INTERLEAVED_DONE = 1, INTERLEAVED_REFUSED, INTERLEAVED_STOPPED };
enum {
    INTERLEAVED_ROOM = 512,
    INTERLEAVED_LANES = 4,                 /* at once; five and more spill registers: slower everywhere */
    INTERLEAVED_TINY = 300,                /* streams that make less gain nothing here */
    INTERLEAVED_LONG_RATIO = 12,           /* streams that shrank so much are made of long matches */
};

typedef struct {
    const uint8_t *src;
    size_t src_len;
    uint8_t *dst;
    size_t dst_len;                        /* what the stream must make, exactly */
    size_t dst_room;                       /* at least dst_len */
    int status;                            /* 0: not begun */
    void *owner;                           /* for the caller; the kernel leaves it alone */
} interleaved_job;

/* Where jobs come from and go to, so that a caller can decide at the last moment where a job is put,
 * and look at its output while that is still in the cache. */
typedef struct {
    interleaved_job *(*next)(void *context);               /* NULL: none now; asked again later */
    void (*done)(void *context, interleaved_job *job);     /* its status is set */
    int (*stopped)(void *context);         /* must all end soon? May be NULL. Asked every so many blocks */
    void *context;
} interleaved_feed;

/* Lanes and tables, some 60 KB. All zeros is a valid beginning; it may be used again and again. */
typedef struct interleaved_state interleaved_state;
size_t interleaved_state_size(void);        /* wants an alignment of 64 */

/* Inflates what the feed gives, in this order, four at a time, or as many as there are. Ends when all are
 * done and there is no next one; or is stopped, and asks for none any more. */
void interleaved_run(interleaved_state *state, const interleaved_feed *feed);

/* Inflates n jobs, each with its status, by rank. */
void interleaved_many(interleaved_state *state, interleaved_job *jobs, size_t n);

/* Jobs of a higher rank should come first: those of long matches, since they have a loop of their own, then
 * those with most input, which is most work. So no long one is left alone at the end, and neighbours shrank
 * alike, so one loop suits them (images of 3 KB: 6 % faster than in any order). */
uint64_t interleaved_rank(size_t src_len, size_t dst_len);

/* The code for a level of CPU: "avx512", "avx2", "portable", or NULL for the best that this CPU runs.
 * Returns the level in use, NULL if the CPU lacks it, and changes nothing then. Call it while nothing
 * runs. */
const char *interleaved_use(const char *level);
int interleaved_supports(const char *level);

/* For tests: all blocks by this loop (0 to INTERLEAVED_LOOPS - 1), whatever is in them; -1: by choice. */
enum { INTERLEAVED_LOOPS = 6 };
void interleaved_force(interleaved_state *state, int loop);
#endif
