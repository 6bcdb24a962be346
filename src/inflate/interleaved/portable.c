/* The interleaved engine in plain C, for every CPU. */
#define LEVEL_RUN interleaved_portable
#include "level.h"
