/* One fault for each sanitizer, to see that it is at work. */
#include <pthread.h>
#include <stdlib.h>

int past_the_end(int n) {
    volatile char *block = calloc(1, (size_t)n);
    return block ? block[n] : 0;
}

int overflow(int n) { return n + 0x7fffffff; }

int leak(int n) {                          /* many: one may still stand in a register */
    for (int i = 0; i < 100; i++) *(volatile char *)malloc((size_t)n) = 1;
    return 0;
}

static int shared_count;

static void *count(void *times) {
    for (int i = 0; i < *(int *)times; i++) shared_count++;
    return NULL;
}

int race(int n) {
    pthread_t one, other;
    if (pthread_create(&one, NULL, count, &n) || pthread_create(&other, NULL, count, &n)) abort();
    pthread_join(one, NULL);
    pthread_join(other, NULL);
    return shared_count;
}
