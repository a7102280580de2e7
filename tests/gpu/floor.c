// The floor: the least that a CUPTI client can do. Counts the records of kernels, copies and calls, keeps nothing. Loaded by
// CUDA_INJECTION64_PATH; prints the counts to the file that FLOOR_OUT names when the process ends.
// FLOOR_KINDS: what is turned on, in that order [10,1,22,2: kernels and copies]: numbers of CUpti_ActivityKind, with `-` to
//   turn one off; `rN` and `dN` for a call of the runtime or the driver API by its number; `wN` waits for N ms.
// FLOOR_LATE_MS: attaches that long after cuInit began [0: within it].
// FLOOR_FLUSH_MS: how often complete buffers are asked for [50; 0: never].
#include <cupti.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static unsigned long long kernels, copies, calls, others;

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static void requested(uint8_t **buffer, size_t *size, size_t *most) {
  *size = 1 << 20;
  *most = 0;
  if (posix_memalign((void **)buffer, 8, *size)) *buffer = NULL, *size = 0;
}

static void completed(CUcontext context, uint32_t stream, uint8_t *buffer, size_t size, size_t used) {
  (void)context, (void)stream, (void)size;
  CUpti_Activity *record = NULL;
  while (cuptiActivityGetNextRecord(buffer, used, &record) == CUPTI_SUCCESS) switch (record->kind) {
      case CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL: __atomic_fetch_add(&kernels, 1, __ATOMIC_RELAXED); break;
      case CUPTI_ACTIVITY_KIND_MEMCPY:
      case CUPTI_ACTIVITY_KIND_MEMCPY2: __atomic_fetch_add(&copies, 1, __ATOMIC_RELAXED); break;
      case CUPTI_ACTIVITY_KIND_RUNTIME:
      case CUPTI_ACTIVITY_KIND_DRIVER: __atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED); break;
      default: __atomic_fetch_add(&others, 1, __ATOMIC_RELAXED);
    }
  free(buffer);
}


static void end(void) {
  cuptiActivityFlushAll(1);
  const char *path = getenv("FLOOR_OUT");
  FILE *out = path ? fopen(path, "w") : NULL;
  if (out) fprintf(out, "kernels %llu copies %llu calls %llu others %llu\n", kernels, copies, calls, others), fclose(out);
}

static const char *setting(const char *name, const char *otherwise) {
  const char *value = getenv(name);
  return value ? value : otherwise;
}

static void say(const char *step, CUptiResult result) {
  if (result != CUPTI_SUCCESS) fprintf(stderr, "floor: %s: CUPTI says %d\n", step, result);
}

static void attach(void) {
  say("clock", cuptiActivityRegisterTimestampCallback(now));
  say("buffers", cuptiActivityRegisterCallbacks(requested, completed));
  char *kinds = strdup(setting("FLOOR_KINDS", "10,1,22,2"));
  for (char *kind = strtok(kinds, ","); kind; kind = strtok(NULL, ",")) {
    int number = atoi(kind + (*kind > '9' || *kind == '-'));
    switch (*kind) {
      case 'w': usleep(1000 * number); break;
      case 'r': say(kind, cuptiActivityEnableRuntimeApi(number, 1)); break;
      case 'd': say(kind, cuptiActivityEnableDriverApi(number, 1)); break;
      case '-': say(kind, cuptiActivityDisable((CUpti_ActivityKind)number)); break;
      default: say(kind, number ? cuptiActivityEnable((CUpti_ActivityKind)number) : CUPTI_SUCCESS);
    }
  }
  free(kinds);
}

static void *thread(void *late_ms) {
  size_t period_us = 1000 * (size_t)atoi(setting("FLOOR_FLUSH_MS", "50"));
  if (late_ms) {
    usleep(1000 * (useconds_t)(size_t)late_ms);
    attach();
  }
  while (period_us) {
    usleep(period_us);
    cuptiActivityFlushAll(0);
  }
  return NULL;
}

int InitializeInjection(void) {
  size_t late_ms = (size_t)atoi(setting("FLOOR_LATE_MS", "0"));
  if (!late_ms) attach();
  pthread_t own;
  if (pthread_create(&own, NULL, thread, (void *)late_ms) == 0) pthread_detach(own);
  atexit(end);
  return 1;
}
