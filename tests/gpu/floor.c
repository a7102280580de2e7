// The floor: the least that a CUPTI client can do. Counts the records of kernels and copies, keeps nothing. Loaded by
// CUDA_INJECTION64_PATH; prints the count to the file that FLOOR_OUT names when the process ends.
// FLOOR_KINDS: numbers of CUpti_ActivityKind, in the order in which they are turned on [10,1,22,2: kernels and copies];
// FLOOR_FLUSH_MS: how often complete buffers are asked for [100; 0: never].
#include <cupti.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static unsigned long long kernels;

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
  while (cuptiActivityGetNextRecord(buffer, used, &record) == CUPTI_SUCCESS)
    if (record->kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) __atomic_fetch_add(&kernels, 1, __ATOMIC_RELAXED);
  free(buffer);
}

static void *flusher(void *period_us) {
  for (;;) {
    usleep((useconds_t)(size_t)period_us);
    cuptiActivityFlushAll(0);
  }
  return NULL;
}

static void end(void) {
  cuptiActivityFlushAll(1);
  const char *path = getenv("FLOOR_OUT");
  FILE *out = path ? fopen(path, "w") : NULL;
  if (out) fprintf(out, "%llu\n", kernels), fclose(out);
}

static const char *setting(const char *name, const char *otherwise) {
  const char *value = getenv(name);
  return value ? value : otherwise;
}

int InitializeInjection(void) {
  cuptiActivityRegisterTimestampCallback(now);
  cuptiActivityRegisterCallbacks(requested, completed);
  char *kinds = strdup(setting("FLOOR_KINDS", "10,1,22,2"));
  for (char *kind = strtok(kinds, ","); kind; kind = strtok(NULL, ",")) cuptiActivityEnable((CUpti_ActivityKind)atoi(kind));
  free(kinds);
  size_t period_us = 1000 * (size_t)atoi(setting("FLOOR_FLUSH_MS", "100"));
  pthread_t thread;
  if (period_us && pthread_create(&thread, NULL, flusher, (void *)period_us) == 0) pthread_detach(thread);
  atexit(end);
  return 1;
}
